"""What is filed is what ran: a stage compares what it read at its start with what is there at its end.

DVC reads params and hashes code and inputs after a command has ended. If somebody edits params.yaml for the
next run while this one trains, this run's results would be filed under the next one's values.
"""

import atexit
import fcntl
import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from study.base import checkpoint_folder
from study.base.params import Knobs
from study.base.provenance import digest, home, loaded_code
from variance_dynamics.base.errors import BadInput

LOCKED = Path("requirements.lock")
CODE = "code of "
POLL = 1.0
"""Seconds between two looks whether dvc still lives."""
Facts = dict[str, Any]


@contextmanager
def unchanged(out: Path, knobs: Knobs, inputs: Sequence[Path] = ()) -> Iterator[None]:
    """Work that writes the folder `out` from `knobs()`, from the loaded code, and from the folders `inputs`.

    Raises BadInput if another process is at work on `out`, and at the end if something that was read has
    changed meanwhile: DVC then does not file the result. Of torchrun's processes only the first looks.
    """
    end_with_dvc()
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    with suppress(OSError):  # where the folder cannot be read, the stage itself says so
        checkpoint_folder.clean()
    with _alone(out):
        before = _facts(knobs, inputs)
        yield
        _compare(before, _facts_again(knobs, inputs))
    if "DVC_STAGE" in os.environ:
        atexit.register(_look_again, before, knobs)


def _look_again(before: Facts, knobs: Knobs) -> None:
    """Compare params once more where the process ends, after notes are written and checkpoints removed."""
    try:
        read = _flat("", knobs())
        _compare({name: before.get(name) for name in read}, read)
    except BadInput as problem:
        print(f"error: {problem}", file=sys.stderr, flush=True)
        os._exit(2)  # an exception would not change the exit status any more


def end_with_dvc() -> None:
    """Let this process end soon after dvc, if dvc started it: nobody else would notice what it writes."""
    if "DVC_STAGE" in os.environ and not any(thread.name == "dvc" for thread in threading.enumerate()):
        threading.Thread(target=_watch, args=(os.getppid(),), name="dvc", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    with suppress(OSError):  # the terminal may be gone
        print("error: dvc has ended: this stage, which it started, ends too", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the lock of an output folder; the system gives it up when the process ends, however it ends."""
    name = hashlib.sha256(str(out.absolute()).encode()).hexdigest()[:16]
    path = home() / "locks" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError:  # a folder that cannot be written says so where the result is written
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{out}: another process is making it: expected one at a time") from None
        except OSError:  # a file system without locks
            pass
        yield


def _facts(knobs: Knobs, inputs: Sequence[Path]) -> Facts:
    """Name -> what is there: knobs by their keys, everything else by its sha256."""
    code = {f"{CODE}{name}": content for name, content in loaded_code().items()}
    lock = hashlib.sha256(LOCKED.read_bytes()).hexdigest() if LOCKED.is_file() else ""
    return _flat("", knobs()) | code | {str(path): digest(path) for path in inputs} | {str(LOCKED): lock}


def _facts_again(knobs: Knobs, inputs: Sequence[Path]) -> Facts:
    """The same at the end, where params.yaml may hold anything."""
    try:
        return _facts(knobs, inputs)
    except BadInput as problem:
        raise BadInput(f"{problem} (changed while this stage ran; run it again)") from None


def _flat(prefix: str, value: Any) -> Facts:
    """A tree of knobs as one mapping, its keys joined by dots."""
    if not isinstance(value, Mapping):
        return {f"params.yaml: {prefix}": value}
    parts = (_flat(f"{prefix}.{name}".lstrip("."), each) for name, each in value.items())
    return {key: leaf for part in parts for key, leaf in part.items()}


def _compare(before: Facts, after: Facts) -> None:
    """Raises BadInput with the first difference. Modules that were loaded later were not there to compare."""
    changed = [name for name in before if after.get(name) != before[name]]
    changed += [name for name in after if name not in before and not name.startswith(CODE)]
    if not changed:
        return
    name = changed[0]
    values = f" {before.get(name)} -> {after.get(name)}" if name.startswith("params.yaml") else ""
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    raise BadInput(f"{name}{values}{more}: changed while this stage ran: run it again")
