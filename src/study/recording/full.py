"""The full study as a recorded run: `python -m study.recording.full [PARTS...]`, or `make full`.

Works in parts, each in its own folder under .full/; finished ones are kept, the one that was interrupted goes
on from its checkpoint. After the last of the parts asked for, what is there is recorded in data/recorded.
"""

import argparse
import fcntl
import json
import signal
import sys
import time
from pathlib import Path

from study.analysis.params import LOCAL
from study.base.params import NAME
from study.data import mnist
from study.recording import record
from study.recording.parts import Part, Tree, chosen, parts, whole, write_params
from study.recording.working import Working, validate
from variance_dynamics.base.errors import BadInput, one_line

HOME = Path(".full")


@one_line
def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if not NAME.fullmatch(options.name) or options.name == LOCAL:
        raise BadInput(f"name is {options.name!r}: expected letters, digits, _ and -, and not local")
    tree, home = whole(options.study), HOME.resolve() / options.name
    every = parts(tree)
    works = {part.name: Working(part, home, Path.cwd()) for part in every}
    home.mkdir(parents=True, exist_ok=True)
    if options.parts != ["record"]:  # which needs no lock: finished parts are not written to
        _run([works[part.name] for part in chosen(every, options.parts)], tree, home)
    record.write(Path("data/recorded") / options.name, options.study, tree, list(works.values()))


def _run(wanted: list[Working], tree: Tree, home: Path) -> None:
    """Run what is not finished of the parts asked for; SIGTERM ends the stage at work too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with locked(home) as lock:
        left = [work for work in wanted if work.done() is None]
        if left:
            _check(tree, home, left, lock.fileno())
            _run_all(left, len(wanted), home / "predicted.json", lock.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make full", description=__doc__)
    parser.add_argument("--study", default="full", help="study of params.yaml")
    parser.add_argument("--name", default="full-cpu", help="folder in data/recorded")
    parser.add_argument("parts", nargs="*", help="names or beginnings (e1, e3-gpt2), or record; all if none")
    return parser


class locked:
    """An open file that one run at a time can lock; processes that inherit it hold it too."""

    def __init__(self, home: Path) -> None:
        self.path = home / "lock"

    def __enter__(self) -> "locked":
        self.file = self.path.open("w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{self.path.parent.name} is being worked on: expected one `make full` at a time, "
                           "and that a part which outlived its own has ended") from None
        return self

    def fileno(self) -> int:
        return self.file.fileno()

    def __exit__(self, *caught: object) -> None:
        self.file.close()


def _check(tree: Tree, home: Path, left: list[Working], lock: int) -> None:
    """Everything that hours of work need is there: MNIST, and params that stage validate accepts."""
    section = tree["classification"]
    datasets = {name for work in left for name in work.part.tree["classification"]["datasets"]
                if work.part.stage != "corpus"}
    folder = Path(section["mnist"]["path"])
    if "mnist" in datasets and section["mnist"]["source"] == "files":
        try:
            mnist.find(folder, mnist.FILES["train"][0])
        except BadInput:
            names = ", ".join(name for pair in mnist.FILES.values() for name in pair)
            raise BadInput(f"MNIST is not in {folder}: expected {names} there (plain or .gz), or "
                           "classification.mnist.source: hub in studies.full of params.yaml") from None
    checked = home / "validated"
    (checked / "data").mkdir(parents=True, exist_ok=True)
    if not (checked / "data" / "raw").is_symlink():
        (checked / "data" / "raw").symlink_to(Path("../../../../data/raw"))
    write_params(tree, checked / "params.yaml")
    validate(checked, Path.cwd(), lock)


def _run_all(left: list[Working], wanted: int, file: Path, lock: int) -> None:
    """Run the parts one after another; says how long before, and how long is left between."""
    predicted = _predicted([work.part for work in left], file)
    plan(predicted)
    ahead, begun, past = sum(predicted.values()), time.monotonic(), 0.0
    for number, work in enumerate(left, start=wanted - len(left) + 1):
        name = work.part.name
        slower = (time.monotonic() - begun) / past if past > 60 else 1.0
        told = f"{spoken(predicted[name] * slower)}; {spoken((ahead - past) * slower)} left in all"
        print(f"part {number} of {wanted}: {name}, about {told}", file=sys.stderr, flush=True)
        started = time.monotonic()
        work.run(lock)
        past += predicted[name]
        took = f"took {spoken(time.monotonic() - started)}, predicted {spoken(predicted[name])}"
        print(f"part {number} of {wanted}: {name} {took}", file=sys.stderr, flush=True)


def _predicted(left: list[Part], file: Path) -> dict[str, float]:
    """Seconds of each part, measured once and kept in `file`."""
    from study.recording.estimate import Estimates

    known: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}
    estimates, new = Estimates(), [part for part in left if part.name not in known]
    if new:
        print(f"measuring how long {len(new)} parts take here ...", file=sys.stderr, flush=True)
    known |= {part.name: round(estimates.seconds(part), 1) for part in new}
    file.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    return {part.name: known[part.name] for part in left}


def plan(predicted: dict[str, float]) -> None:
    """Print how long the parts will take, by experiment."""
    groups: dict[str, list[float]] = {}
    for name, seconds in predicted.items():
        groups.setdefault("-".join(name.split("-")[:-1]) or name, []).append(seconds)
    for name, each in groups.items():
        print(f"  {name:<16} {len(each):>2} x {spoken(sum(each) / len(each)):>8}  {spoken(sum(each)):>12}",
              file=sys.stderr)
    longest = max(predicted, key=lambda name: predicted[name])
    total, most = spoken(sum(predicted.values())), spoken(predicted[longest])
    told = f"{len(predicted)} parts, about {total} in all, the longest {longest} with {most}"
    print(told, file=sys.stderr, flush=True)


def spoken(seconds: float) -> str:
    """45 s, 12 min, 3 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


if __name__ == "__main__":
    main()
