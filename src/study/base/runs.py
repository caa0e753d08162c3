"""Notes of how an output was made: commit, machine, versions, seconds, tries, and the code that was loaded.

A note cannot stand in the output, as the same command must give the same bytes. It lies in
.runs/ITEM/DIGEST.json, where DIGEST is that of the output: whatever DVC restores later still finds its note.
"""

import hashlib
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from study.base import provenance
from study.base.params import Knobs
from study.base.provenance import digest, home
from variance_dynamics.base.atomic import replacing

Note = dict[str, Any]
OWN = f"{os.getpid()}-{secrets.token_hex(4)}"
"""Of this process. Two containers that share a folder may give their processes the same number."""
BEAT = 5.0
"""Seconds between two writings of the time spent. A kill loses at most as much of it."""


@contextmanager
def noted(item: str, out: Path, knobs: Knobs) -> Iterator[None]:
    """Note the work inside. `item`: the stage as DVC names it; `out`: the folder that it writes.

    It can also decorate a function. An attempt that was killed or failed is counted in the note of the next
    one, if `knobs()` and the code are the same. Of torchrun's processes only the first writes a note.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    attempt, ended = Attempt(item, knobs), threading.Event()
    beat = threading.Thread(target=attempt.beat, args=(ended,), daemon=True)
    beat.start()
    try:
        yield
    except BaseException:
        attempt.save()
        raise
    finally:
        ended.set()
        beat.join()
    attempt.finish(out)


def note_of(item: str, out: Path) -> Note | None:
    """The note of how the output in the folder `out` was made, or None if there is none here."""
    return _read(home() / item / f"{digest(out)}.json")


class Attempt:
    """One attempt at an item, on top of earlier ones that did not finish."""

    def __init__(self, item: str, knobs: Knobs) -> None:
        self.folder = home() / item
        self.unfinished = self.folder / f"unfinished-{_identity(knobs)}.json"
        earlier = _read(self.unfinished) or {"seconds": 0.0, "tries": 0}
        self.tries, self.earlier = earlier["tries"] + 1, earlier["seconds"]
        self.facts = {"item": item, **provenance.commit(Path.cwd()), "machine": provenance.machine(),
                      "versions": provenance.versions()}
        self.started = time.monotonic()
        self.save()

    def spent(self) -> Note:
        """Wall seconds of all attempts, and their number."""
        return {"seconds": round(self.earlier + time.monotonic() - self.started, 1), "tries": self.tries}

    def save(self) -> None:
        """Write the time spent up to now. Where that fails, the next beat may succeed."""
        with suppress(OSError):
            _write(self.unfinished, self.spent())

    def beat(self, ended: threading.Event) -> None:
        """Save every BEAT seconds until `ended` is set."""
        while not ended.wait(BEAT):
            self.save()

    def finish(self, out: Path) -> None:
        """Write the note of the output. Where that fails, a line says so: the output itself is good."""
        note = self.facts | self.spent() | {"finished": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        gpu = _gpu()
        note |= {"machine": note["machine"] | gpu.pop("machine", {}), **gpu, "code": provenance.loaded_code()}
        file = self.folder / f"{digest(out)}.json"
        try:
            _write(file, note)
        except OSError as problem:
            print(f"{file}: {problem.strerror}: this output has no note and cannot be recorded",
                  file=sys.stderr)
        with suppress(OSError):
            self.unfinished.unlink()


def _identity(knobs: Knobs) -> str:
    """A name made from the knobs and the loaded code: attempts that share it work on the same output."""
    facts = json.dumps([knobs(), provenance.loaded_code()], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def _gpu() -> Note:
    """The GPU and the peak of its memory, if this process has used one; torch is not imported for that."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {"machine": {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda},
            "peak_gpu_memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)}


def _read(path: Path) -> Note | None:
    try:
        note: Note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note


def _write(path: Path, note: Note) -> None:
    """Two runs of the same values in copies of the repository share a note, so each has its own name."""
    with replacing(path, OWN) as partial:
        partial.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
