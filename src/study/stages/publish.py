"""Stages `numbers` and `figures`: copy what git tracks out of what DVC caches.

DVC's run-cache does not serve a stage whose output git tracks. So `analyze` and `plot` write under data/,
where DVC brings back the results of values that were run before, and these two stages copy them.
"""

import shutil
import sys
from pathlib import Path

from variance_dynamics.base.errors import BadInput, one_line

PLACES = {"numbers": (Path("data/analysis/metrics"), Path("metrics")),
          "figures": (Path("data/plots"), Path("plots"))}
"""Stage -> the folder that is copied, and the folder that it is copied into."""


@one_line
def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in PLACES:
        raise BadInput(f"arguments are {' '.join(sys.argv[1:])!r}: expected one of {', '.join(PLACES)}")
    source, target = PLACES[sys.argv[1]]
    if not source.is_dir():
        raise BadInput(f"{source}: no such folder: expected what the stage before it writes")
    shutil.copytree(source, target, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
