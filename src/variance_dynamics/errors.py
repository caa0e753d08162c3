"""One clear line for bad input: the thing, its value, what was expected."""

import functools
import sys
from collections.abc import Callable


class BadInput(ValueError):
    """Input that a person can correct; its message is one line and is shown without a traceback."""


def one_line(main: Callable[..., None]) -> Callable[..., None]:
    """Let `main` end a BadInput as `error: ...` on stderr with exit status 2."""

    @functools.wraps(main)
    def guarded(*args: object) -> None:
        try:
            main(*args)
        except BadInput as problem:
            print(f"error: {' '.join(str(problem).split())}", file=sys.stderr)
            sys.exit(2)

    return guarded
