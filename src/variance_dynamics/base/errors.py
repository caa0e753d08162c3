"""One clear line for bad input and for a machine's limits: what is wrong, its value, what was expected."""

import difflib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping

from variance_dynamics.base.terminal import printable

MEMORY = re.compile("allocate memory|out of memory", re.IGNORECASE)
WRITING = re.compile(r"\(os error \d+\)|inline_container|PytorchStreamWriter")
"""Text of the exceptions that safetensors and torch raise where the disk is full."""
LONGEST = 2000
"""Characters of a message."""
TRACEBACK = "VARIANCE_DYNAMICS_TRACEBACK"
"""Environment variable: where it is set, what nobody thought of ends with a traceback."""


class BadInput(ValueError):
    """Input that a person can correct; its message is one line and is shown without a traceback.

    Names in it may come from files: what is not printable is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))


def _one_line(message: str) -> str:
    """At most LONGEST characters on one line."""
    line = printable(" ".join(message.split()))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def check_name(what: str, name: str, known: Iterable[str],
               other_names: Mapping[str, str] | None = None) -> None:
    """Raises BadInput where `name` is none of `known`; the message has them all, and the nearest one.

    `what` is what the name is of. `other_names` maps names that people use, in lower case, to known ones.
    """
    names = list(known)
    if name in names:
        return
    similar = difflib.get_close_matches(name.lower(), names, 1)
    near = (other_names or {}).get(name.lower()) or next(iter(similar), "")
    hint = f" (did you mean {near}?)" if near else ""
    raise BadInput(f"{what} is {name!r}: expected one of {', '.join(names)}{hint}")


def one_line(main: Callable[..., None]) -> Callable[..., None]:
    """Decorator: an error that a person can correct becomes one line `error: ...` on stderr, no traceback.

    The exit status is 2 for BadInput, 1 for files and memory, and 130 for Ctrl-C, as in a shell.
    """

    @functools.wraps(main)
    def guarded(*args: object) -> None:
        try:
            main(*args)
        except (Exception, KeyboardInterrupt) as problem:
            status, message = _status_and_message(problem)
            if not message:
                raise
            print(f"error: {_one_line(message)}", file=sys.stderr)
            sys.exit(status)

    return guarded


def with_a_line(problem: Exception, about: str) -> Exception:
    """`problem`, where `one_line` has a line for it; else a BadInput that asks for a report on `about`.

    It is `problem` too where the environment asks for tracebacks.
    """
    if os.environ.get(TRACEBACK) or _status_and_message(problem)[1]:
        return problem
    first = str(problem).partition("\n")[0][:200]
    return BadInput(f"{about}: {type(problem).__name__} ({first}): this is a fault of variance-dynamics; "
                    f"please report it, with the file if you can ({TRACEBACK}=1 shows where it happened)")


def _status_and_message(problem: BaseException) -> tuple[int, str]:
    """Exit status and message; the message is empty where a traceback is of more use."""
    first = str(problem).partition("\n")[0]
    if isinstance(problem, BadInput):
        return 2, str(problem)
    if isinstance(problem, KeyboardInterrupt):
        return 130, "interrupted"
    if isinstance(problem, OSError):
        where = f"{problem.filename}: " if problem.filename else ""
        return 1, f"{where}{problem.strerror or first or type(problem).__name__}"
    if isinstance(problem, MemoryError) or MEMORY.search(first):  # torch's is a RuntimeError
        return 1, f"out of memory: {first or 'expected more of it'}"
    if WRITING.search(first):
        return 1, f"a file cannot be written: {problem.__context__ or first}"
    return 1, ""
