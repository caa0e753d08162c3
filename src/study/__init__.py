"""The study: the pipeline of dvc.yaml, which reads params.yaml and calls the library. The wheel leaves it
out.

Rooms, from the ground up: base; data; mlp (E1, E2) and gpt2 (E3); analysis; plotting; stages. A room
imports from rooms below it, and from the library; each says which. A room is a cache boundary: DVC reruns
the stages that depend on a room of which a file changed.
"""

import sys
from importlib.util import find_spec

if find_spec("pydantic") is None:  # the first package that a stage needs: this is another Python than ours
    sys.exit(f"error: {sys.executable} lacks the packages of requirements.lock: expected the environment "
             "that `make setup` makes: source .venv/bin/activate")
