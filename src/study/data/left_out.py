"""What a run with `--temp` or from the queue leaves out: files that git ignores, as those of data/raw."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from variance_dynamics.base.errors import BadInput

OPTION = "--copy-paths data/raw/text"


@contextmanager
def named() -> Iterator[None]:
    """Let the BadInput of a file that is missing say so, where DVC works in a copy of the repository.

    There $DVC_ROOT is the folder from which DVC was called, and not this one.
    """
    try:
        yield
    except BadInput as problem:
        root = os.environ.get("DVC_ROOT")
        if root is None or Path(root).resolve() == Path.cwd().resolve():
            raise
        why = "with --temp or --queue, files that git ignores are left out unless they are named, as in"
        raise BadInput(f"{problem} ({why} {OPTION})") from None
