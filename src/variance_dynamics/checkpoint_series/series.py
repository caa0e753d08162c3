"""From the checkpoints of a run to the Tracker's table, the faults of the series, and the law beside it."""

import contextlib
import math
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variance_dynamics.auditing.audit import audit
from variance_dynamics.auditing.which_recipe import AUTO
from variance_dynamics.base.errors import BadInput
from variance_dynamics.checkpoint_series.integrity import Facts, faults
from variance_dynamics.checkpoint_series.ranges import NoAnswer, Server
from variance_dynamics.checkpoint_series.reading import read_all, some_of
from variance_dynamics.checkpoint_series.records import Journal
from variance_dynamics.checkpoint_series.schedule import schedule_of
from variance_dynamics.checkpoint_series.steps import Step, local_steps
from variance_dynamics.checkpoint_series.table import compared_with, rows_of
from variance_dynamics.checkpoint_series.walk import Entry, Wanted
from variance_dynamics.forecasting.forecast import TrainingSchedule
from variance_dynamics.forecasting.recorded import ComparedRun
from variance_dynamics.recipes.named import recipe_named
from variance_dynamics.roles.find_roles import NetworkRoles, find_roles

if TYPE_CHECKING:
    import pandas as pd

REVISIONS = "step*"


@dataclass(frozen=True)
class Series:
    """What is known of a series of checkpoints.

    `table` has the Tracker's columns step, name, layer, role, stat, value, and commit where the checkpoints
    are the hub's; it is None where they were only checked. `faults` are lines on what is wrong, `notes` other
    sentences. `compared` is the null law beside the table, or None where no lr is known. `read` counts the
    bytes that came over the network.
    """

    source: str
    steps: tuple[Step, ...]
    table: "pd.DataFrame | None"
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    schedule: TrainingSchedule | None = None
    compared: ComparedRun | None = None
    read: int = 0

    @property
    def exit_code(self) -> int:
        """0 where nothing is wrong, else 1."""
        return int(bool(self.faults))


def series(source: str | Path, *, roles: Collection[str] = (), steps: Sequence[str | int] = (),
           revisions: str = REVISIONS, path: str | Path | None = None, check: bool = False,
           recipe: str = "auto", std: float | None = None, patterns: Mapping[str, str] | None = None,
           heads: int | None = None, schedule: Mapping[str, Any] | None = None) -> Series:
    """The statistics of every weight matrix of every checkpoint of a run, and what is wrong with them.

    `source` is a folder of checkpoints, or OWNER/NAME of a repository of the hub, whose branches and tags
    that match `revisions` are read. Steps are in names (step1000, checkpoint-500, ...); `steps` chooses some,
    or gives NAME=STEP. `roles` are those of the matrices that are read (default: all). `path` ends in
    .parquet or .jsonl; a run that was stopped goes on from what it left beside it. With `check` nothing is
    measured, and only samples of the tensors are read. `recipe`, `std`, `patterns` and `heads` are as for
    `audit`, which judges step 0. `schedule` holds fields of TrainingSchedule (lr, weight_decay, ...).

    Raises BadInput for what is no series, and where the network fails for good.
    """
    from variance_dynamics.tracking.writers import writer

    _check_recipe(recipe, std)
    write = writer(path) if path is not None else None
    with _workplace(path) as folder:
        found, notes, server = _steps(str(source), [str(step) for step in steps], revisions, folder)
        entries, wrong = _opened(found)
        network, wanted = _wanted(entries[0], roles, patterns, heads)
        wrong += _shapes(entries, {each.tensor: each.shape for each in wanted})
        plan, origin = schedule_of(_places(source, entries), entries[-1].step.number, schedule or {})
        journal = Journal(folder / "done.jsonl" if path is not None else None)
        records = read_all(entries, wanted, journal, not check)
        table = None if check else rows_of([entry.step for entry in entries], wanted, records.values)
        compared, remark = compared_with(table, plan) if plan and table is not None else (None, "")
        wrong += records.broken
        facts = Facts([entry.step.number for entry in entries], records.matrices,
                      [entry.opened.files for entry in entries])
        said = list(faults(facts, plan.rates if plan else None, plan.weight_decay if plan else 0.0))
        wrong += [line for fault, line in said if fault]
        notes += [line for fault, line in said if not fault]
        wrong += _step_0(entries[0], wanted, roles, recipe, std, patterns, heads)
        notes += [*entries[0].opened.notes, *_unknown(network), *records.notes, *_on_step_0(entries), origin,
                  *filter(None, [remark])]
        if write is not None and table is not None:
            write(table, 0)
        done = Series(str(source), tuple(entry.step for entry in entries), table, tuple(wrong), tuple(notes),
                      plan, compared, server.read if server else 0)
    if path is not None:
        shutil.rmtree(folder)
    return done


def _check_recipe(recipe: str, std: float | None) -> None:
    """Raises BadInput before anything is read, where step 0 could be judged by nothing."""
    if recipe != AUTO:
        recipe_named(recipe)
    if std is not None and not 0 < std < math.inf:
        raise BadInput(f"std is {std}: expected a number above 0")


@contextlib.contextmanager
def _workplace(path: str | Path | None) -> Iterator[Path]:
    """A folder for what is kept while the series is read; it stays where the table has a path."""
    if path is not None:
        folder = Path(f"{path}.parts")
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="series-") as name:
        yield Path(name)


def _steps(source: str, given: Sequence[str], revisions: str, folder: Path
           ) -> tuple[list[Step], list[str], Server | None]:
    place = Path(source)
    if place.is_dir():
        return *local_steps(place, given), None
    from variance_dynamics.checkpoint_series.hub import hub_steps, is_repository

    if place.exists() or not is_repository(source):
        raise BadInput(f"{source}: no folder and no OWNER/NAME of the hub: "
                       "expected the folder of a run's checkpoints, or such a repository")
    named = [text for text in given if not text.isdecimal()]
    if named:
        raise BadInput(f"steps holds {named[0]!r}: expected whole numbers, for a repository of the hub")
    try:
        return hub_steps(source, revisions, [int(text) for text in given], folder)
    except NoAnswer as problem:
        raise NoAnswer(f"{problem} (there is no folder {source})") from None


def _opened(steps: Sequence[Step]) -> tuple[list[Entry], list[str]]:
    """The steps that can be opened, and a line for each other one. Raises BadInput where none can."""
    entries, wrong = [], []
    for step in steps:
        try:
            entries.append(Entry(step, step.opened()))
        except NoAnswer:
            raise
        except BadInput as problem:
            wrong.append(f"step {step.number:,}: {problem}")
    if not entries:
        raise BadInput(wrong[0])
    return entries, wrong


def _wanted(entry: Entry, roles: Collection[str], patterns: Mapping[str, str] | None, heads: int | None
            ) -> tuple[NetworkRoles, list[Wanted]]:
    """The roles of the whole network, and the tensors to read: all, or those with matrices of some roles."""
    checkpoint = entry.opened.checkpoint
    config = {**checkpoint.config, **({"num_attention_heads": heads} if heads else {})}
    shapes = {name: stored.shape for name, stored in checkpoint.tensors.items()
              if name not in checkpoint.tied}
    network = find_roles(shapes, config, patterns, checkpoint.types)
    present = sorted({piece.parameter.role for piece in network.pieces})
    for role in roles:
        if role not in present:
            raise BadInput(f"roles holds {role!r}: expected some of {', '.join(present)}")
    pieces = [piece for piece in network.pieces if not roles or piece.parameter.role in roles]
    if not pieces:
        raise BadInput(f"{checkpoint.source}: no weight matrix among {len(shapes)} tensors: expected a model")
    vectors = set() if roles else set(network.vectors)
    names = {piece.tensor for piece in pieces} | vectors
    return network, [Wanted(name, shapes[name], tuple(piece for piece in pieces if piece.tensor == name))
                     for name in shapes if name in names]


def _shapes(entries: Sequence[Entry], wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    """A line for each step with other tensors, or other shapes, than the first."""
    wrong = []
    for entry in entries[1:]:
        here = entry.opened.checkpoint.tensors
        problems = [f"{name} is missing" for name in wanted if name not in here]
        problems += [f"{name} is {list(here[name].shape)}, at step {entries[0].step.number:,} {list(shape)}"
                     for name, shape in wanted.items() if name in here and here[name].shape != shape]
        first = entries[0].opened.checkpoint.tensors
        problems += [f"{name} is not at step {entries[0].step.number:,}"
                     for name in here if name not in first]
        if problems:
            wrong.append(f"step {entry.step.number:,}: {some_of(problems)}")
    return wrong


def _places(source: str | Path, entries: Sequence[Entry]) -> list[Path]:
    """Folders that may say how the run was trained; none of the hub's."""
    root = Path(source)
    return [root, *(root / entry.step.name for entry in reversed(entries))] if root.is_dir() else []


def _step_0(entry: Entry, wanted: Sequence[Wanted], roles: Collection[str], recipe: str, std: float | None,
            patterns: Mapping[str, str] | None, heads: int | None) -> list[str]:
    """Lines on step 0, where it is not what its recipe says."""
    if entry.step.number:
        return []
    place = entry.opened.auditable([each.tensor for each in wanted])
    try:
        report = audit(place, recipe, std, patterns=patterns, heads=heads)
    except BadInput as problem:
        return [f"step 0: {problem}"]
    alarms = [row for row in report.alarms if not roles or row.parameter.role in roles]
    vectors = () if roles else report.vector_alarms
    counts = [(len(alarms), len(report.rows), "matrices"),
              (len(vectors), len(report.vectors), "norms, biases and scales")]
    off = " and ".join(f"{count} of {total} {what}" for count, total, what in counts if count)
    named = [f"{name} {': '.join(filter(None, [verdict, note]))}" for name, verdict, note in
             [*((row.parameter.name, row.verdict, row.note) for row in alarms),
              *((row.name, row.verdict, row.note) for row in vectors)]]
    return [f"step 0 is not its recipe, {report.recipe}: {off}: {some_of(named)}"] if off else []


def _unknown(network: NetworkRoles) -> list[str]:
    unknown = [piece.parameter.name + (f" ({piece.note})" if piece.note else "") for piece in network.unknown]
    unmatched = [f"pattern {pattern!r} matches no parameter, so it gives no role"
                 for pattern in network.unmatched]
    return unmatched + ([f"no role is known of {len(unknown)} matrices: {some_of(unknown)}"]
                        if unknown else [])


def _on_step_0(entries: Sequence[Entry]) -> list[str]:
    if entries[0].step.number:
        return ["there is no step 0: no cosine with it, no audit of it, and no null law"]
    return []
