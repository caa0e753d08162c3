"""Stages `numbers` and `figures`: copy what git tracks out of what DVC caches.

An output that git tracks costs its stage DVC's run-cache. So `analyze` and `plot` write under data/, where a
value that was run before brings their results back without computing, and these two copy them.
"""

import shutil
import sys
from pathlib import Path

from variance_dynamics.base.errors import BadInput, one_line

PLACES = {"numbers": (Path("data/analysis/metrics"), Path("metrics")),
          "figures": (Path("data/plots"), Path("plots"))}
"""Stage -> the folder that is copied, and where to. DVC empties it before."""


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
