"""Which checkpoints a folder holds, and after how many updates each was saved."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from variance_dynamics.auditing.checkpoint_files import open_checkpoint
from variance_dynamics.auditing.tensors import Checkpoint, Raw
from variance_dynamics.base.errors import BadInput

NUMBER = r"(\d+)(k|m)?(?![a-z\d])"
NAMED = tuple(re.compile(pattern + NUMBER, re.IGNORECASE) for pattern in (
    r"(?<![a-z])(?:global[-_]?)?(?:steps?|iter|iters|iteration)[-_=]?",
    r"(?<![a-z])(?:batch|ba)[-_=]?",
    r"(?<![a-z])(?:checkpoint|ckpt|model|state|weights)[-_=]?",
    r"^"))
"""Where a name has its step, the surest first: step1000, iter_0001000, ba100, checkpoint-500, 500."""
THOUSANDS = {"": 1, "k": 10**3, "m": 10**6}
SHARD = re.compile(r"-\d+-of-\d+\.")
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".npz")
EXPECTED = "expected checkpoints with steps in their names, such as step1000 or checkpoint-500, or --steps"


def _nothing(tensor: str) -> None:
    pass


@dataclass(frozen=True)
class Opened:
    """A checkpoint, and where its tensors lie: `files` maps a tensor to its file.

    `auditable(names)` gives a place with these tensors at least, which `audit` can read. `sample(name, start,
    stop)` gives some values of a tensor, as stored; `release(name)` says that it is needed no more. `hashes`
    maps files to the hash of their bytes, where it is known without reading them; `notes` are sentences.
    """

    checkpoint: Checkpoint
    files: Mapping[str, str]
    auditable: Callable[[Sequence[str]], Path]
    sample: Callable[[str, int, int], Raw]
    release: Callable[[str], None] = _nothing
    hashes: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """A checkpoint of a run: its number of updates, its name for a person, and how it is opened.

    `identity` changes where its bytes may have changed. `commit` is that of the hub's revision.
    """

    number: int
    name: str
    identity: str
    opened: Callable[[], Opened]
    commit: str = ""


def step_in(name: str) -> int | None:
    """The step that the name of a file, a folder or a revision says; None where it says none.

    >>> [step_in(name) for name in ("step1000-unsharded", "epoch=3-step=1200.ckpt", "iter_0001000", "final")]
    [1000, 1200, 1000, None]
    """
    stem = name
    for suffix in SUFFIXES:
        stem = stem.removesuffix(suffix)
    for pattern in NAMED:
        said = pattern.search(stem)
        if said:
            return int(said[1]) * THOUSANDS[(said[2] or "").lower()]
    return None


def local_steps(folder: Path, given: Sequence[str] = ()) -> tuple[list[Step], list[str]]:
    """The checkpoints of `folder` in the order of their steps, and notes on what was left out.

    `given` holds numbers (only these steps) or NAME=STEP (the step of a file or folder whose name says none).
    Raises BadInput where there are no checkpoints, or two of one step.
    """
    numbers, named = _given(given)
    places: dict[int, list[Path]] = {}
    left = []
    for place in sorted(folder.iterdir()):
        if not _may_be_checkpoint(place):
            continue
        number = named.pop(place.name, None)
        number = _step_of(place) if number is None else number
        if number is None:
            left.append(place.name)
        else:
            places.setdefault(number, []).append(place)
    if named:
        raise BadInput(f"steps holds {next(iter(named))}: expected a file or folder in {folder}")
    chosen = chosen_steps(places, numbers, str(folder))
    notes = [f"left out, as no step is in its name: {', '.join(left[:5])}"] if left else []
    return [_local(number, _only(number, places[number])) for number in chosen], notes


def chosen_steps(known: Mapping[int, object], numbers: Sequence[int], where: str) -> list[int]:
    """The steps of `known` in order, or those of `numbers`. Raises BadInput where one is missing."""
    for number in numbers:
        if number not in known:
            raise BadInput(f"steps holds {number}: expected one of {', '.join(map(str, sorted(known)[:20]))}")
    if not known:
        raise BadInput(f"{where}: no checkpoints: {EXPECTED}")
    return sorted(set(numbers) or set(known))


def _given(texts: Sequence[str]) -> tuple[list[int], dict[str, int]]:
    numbers, named = [], {}
    for text in texts:
        name, equals, number = str(text).rpartition("=")
        if not number.isdecimal() or (equals and not name):
            raise BadInput(f"steps holds {text!r}: expected whole numbers, or NAME=STEP")
        if name:
            named[name] = int(number)
        else:
            numbers.append(int(number))
    return numbers, named


def _may_be_checkpoint(place: Path) -> bool:
    if place.name.startswith("."):
        return False
    return place.is_dir() or (place.suffix in SUFFIXES and not SHARD.search(place.name))


def _step_of(place: Path) -> int | None:
    """By its name; else by the trainer_state.json in it."""
    number = step_in(place.name)
    state = place / "trainer_state.json"
    if number is not None or not state.is_file():
        return number
    try:
        known = json.loads(state.read_text(encoding="utf-8")).get("global_step")
    except (ValueError, AttributeError, RecursionError):
        return None
    return known if type(known) is int and known >= 0 else None


def _only(number: int, places: list[Path]) -> Path:
    if len(places) > 1:
        names = ", ".join(place.name for place in places[:3])
        raise BadInput(f"{places[0].parent}: {names} are all of step {number}: expected one of each step")
    return places[0]


def _local(number: int, place: Path) -> Step:
    return Step(number, place.name, _identity(place), lambda: on_disk(place, open_checkpoint(place)))


def _identity(place: Path) -> str:
    """Of the names, sizes and times of all files."""
    files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
    facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def on_disk(place: Path, checkpoint: Checkpoint) -> Opened:
    """An open checkpoint whose values all lie in `place`."""
    def sample(name: str, start: int, stop: int) -> Raw:
        values: Raw = checkpoint.tensors[name].raw().reshape(-1)[start:stop]
        return values

    return Opened(checkpoint, files_of(place, list(checkpoint.tensors)), lambda names: place, sample)


def files_of(place: Path, tensors: Sequence[str]) -> dict[str, str]:
    """Tensor -> the file that holds it, by the index in a folder; without one, the name of the place."""
    for index in sorted(place.glob("*.index.json")) if place.is_dir() else []:
        places = json.loads(index.read_text(encoding="utf-8")).get("weight_map", {})
        if all(name in places for name in tensors):
            return {name: str(places[name]) for name in tensors}
    return dict.fromkeys(tensors, place.name)
