"""A part's working folder: its params, data and checkpoints, how long it took, and whether it is finished."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.base import provenance as machine
from study.recording.parts import CORPUS, E3, Part, fingerprint, write_params
from variance_dynamics.base.errors import BadInput

BEAT = 5.0
"""Seconds between notes of the time spent: what a kill can lose of it."""


@dataclass(frozen=True)
class Working:
    """Part `part` of the run whose folder is `home`, under the repository root `root` (absolute)."""

    part: Part
    home: Path
    root: Path

    @property
    def folder(self) -> Path:
        return self.home / self.part.name

    @property
    def out(self) -> Path:
        """Where the part's last stage leaves its result."""
        name = "gpt2/" + "-".join(self.part.arguments) if self.part.stage == E3 else self.part.stage
        return self.folder / "data" / name

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.part, self.root / "dvc.yaml")

    def done(self) -> dict[str, Any] | None:
        """What `run` noted at the end; None if the part is not finished or its params or code changed."""
        noted = _read(self.folder / "done.json")
        return noted if noted and noted["fingerprint"] == self.fingerprint else None

    def run(self, lock: int) -> None:
        """Run the part's stages, from a checkpoint where one is left. SystemExit if a stage fails.

        The child processes hold `lock` (a file descriptor), so that it lasts as long as they do.
        """
        attempt = self.begin()
        for stage, *arguments in self.part.stages:
            command = [sys.executable, "-m", f"study.stages.{stage}", *arguments]
            with _child(command, self.folder, self.root, lock) as child:
                while child.poll() is None:
                    _wait(child)
                    attempt.note()
            if child.returncode:
                ended = f"{self.part.name}: {stage} ended with {child.returncode}"
                print(f"{ended}; `make full` goes on from here", file=sys.stderr)
                raise SystemExit(1)
        attempt.end()

    def begin(self) -> "Attempt":
        """The folder made ready, and a clock that goes on where those of earlier attempts were stopped."""
        self._prepare()
        earlier = (_read(self.folder / "spent.json") or {"seconds": []})["seconds"]
        facts = {"fingerprint": self.fingerprint, **machine.commit(self.root),
                 "machine": machine.machine()}
        return Attempt(self.folder, facts, [*earlier, 0.0])

    def _prepare(self) -> None:
        """The folder with params and links to shared data; emptied if it is of other params or code."""
        current = self.fingerprint
        if self.folder.exists() and (_read(self.folder / "begun.json") or {}).get("fingerprint") != current:
            print(f"{self.part.name}: its params or code changed, it starts anew", file=sys.stderr)
            shutil.rmtree(self.folder)
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        _write(self.folder / "begun.json", {"fingerprint": current})
        write_params(self.part.tree, self.folder / "params.yaml")
        links = {"raw": self.root / "data" / "raw"}
        if self.part.stage == E3:
            links["corpus"] = self.home / CORPUS / "data" / CORPUS
        for name, target in links.items():
            link = self.folder / "data" / name
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(target, link.parent))


class Attempt:
    """One of the times that a part is worked at: notes the seconds of all, and at the end that it is done."""

    def __init__(self, folder: Path, facts: dict[str, Any], seconds: list[float]) -> None:
        self.folder, self.facts, self.seconds = folder, facts, seconds
        self.started = time.monotonic()
        self.note()

    def note(self) -> None:
        """Write down the time spent up to now."""
        self.seconds[-1] = round(time.monotonic() - self.started, 1)
        _write(self.folder / "spent.json", {"seconds": self.seconds})

    def end(self, **measured: Any) -> None:
        """The part is finished; `measured` is kept with it."""
        self.note()
        spent = {"seconds": round(sum(self.seconds), 1), "tries": len(self.seconds)}
        _write(self.folder / "done.json", {**self.facts, **spent, **measured})


class _child(subprocess.Popen[bytes]):
    """A process that ends with this one's with-block: interrupted, it would go on writing."""

    def __init__(self, command: list[str], folder: Path, root: Path, lock: int) -> None:
        env = {name: value for name, value in os.environ.items() if name != "DVC_ROOT"}
        paths = filter(None, [str(root / "src"), env.get("PYTHONPATH")])  # packages may lie on the caller's
        super().__init__(command, cwd=folder, env=env | {"PYTHONPATH": os.pathsep.join(paths)},
                         pass_fds=[lock])

    def __exit__(self, *caught: Any) -> None:
        if self.poll() is None:
            self.send_signal(signal.SIGTERM)
        super().__exit__(*caught)


def _wait(child: _child) -> None:
    with suppress(subprocess.TimeoutExpired):
        child.wait(BEAT)


def validate(tree_folder: Path, root: Path, lock: int) -> None:
    """Stage `validate` on the params in a folder, before anything is computed. BadInput if it refuses."""
    command = [sys.executable, "-m", "study.stages.validate"]
    with _child(command, tree_folder, root, lock) as child:
        child.wait()
    if child.returncode:
        raise BadInput("the full study's params are not valid: expected those of params.yaml to be")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except (FileNotFoundError, ValueError):
        return None


def _write(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
