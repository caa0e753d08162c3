"""The learning rate and weight decay of a run: as given, or as the files beside its checkpoints say."""

import itertools
import json
import pickletools
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from variance_dynamics.base.errors import BadInput
from variance_dynamics.forecasting.forecast import Floats, TrainingSchedule
from variance_dynamics.forecasting.recorded import schedule_beside

LARGEST_ARGUMENTS = 10**6
"""Bytes of the pickle in training_args.bin."""


@dataclass(frozen=True)
class LoggedSchedule(TrainingSchedule):
    """A schedule whose rates were logged: `logged` holds (updates done, lr), linear between."""

    logged: tuple[tuple[int, float], ...] = ()

    @cached_property
    def rates(self) -> Floats:
        """[T] learning rate of update 0..T-1."""
        steps, rates = zip(*self.logged, strict=True)
        values: Floats = np.interp(np.arange(self.steps), steps, rates)
        return values


def schedule_of(places: Sequence[Path], last: int, options: Mapping[str, Any]
                ) -> tuple[TrainingSchedule | None, str]:
    """The schedule of a run whose last step is `last`, and a note on where it is from or what is missing.

    `options` are fields of TrainingSchedule, and come first. `places` are the run's folder and those of its
    checkpoints, the last one first; of these run.json, then trainer_state.json with training_args.bin is
    looked for. Raises BadInput where what there is cannot be followed.
    """
    known: dict[str, Any] = {}
    for place in places:
        known = known or schedule_beside(place / "run.json")
    fields = {"steps": last, **known, **options}
    if not last:
        return None, "there is step 0 alone, so there is no null law"
    if "lr" in fields:
        plan = TrainingSchedule(**fields)
        where = "as given" if "lr" in options else "from run.json"
        return plan, f"lr {where}, weight decay {plan.weight_decay:g}"
    logged = next(filter(None, map(_logged, places)), ())
    _check_used(options, ("weight_decay",) if logged else ())
    if not logged:
        return None, "no lr is known, so there is no null law: give --lr, or keep trainer_state.json"
    decay = options.get("weight_decay", _weight_decay(places))
    if decay is None:
        return None, "the lr is in trainer_state.json, but no weight decay is known: give --weight-decay"
    steps = max(last, logged[-1][0])
    plan = LoggedSchedule(max(rate for _, rate in logged), steps, "constant", 0, decay, logged=logged)
    return plan, f"lr from trainer_state.json, weight decay {decay:g}"


def _check_used(options: Mapping[str, Any], used: Sequence[str]) -> None:
    """Raises BadInput for an option of the schedule that nothing would follow, as no lr is given with it."""
    for name, value in options.items():
        if name not in used:
            option = "updates" if name == "steps" else name.replace("_", " ")
            raise BadInput(f"{option} is {value!r} without an lr: expected --lr too, or neither")


def _logged(place: Path) -> tuple[tuple[int, float], ...]:
    """(updates done, lr of the next one) by trainer_state.json; empty where there is none."""
    file = place / "trainer_state.json"
    if not file.is_file():
        return ()
    try:
        history = json.loads(file.read_text(encoding="utf-8")).get("log_history", [])
        lines = {int(line["step"]): float(line["learning_rate"]) for line in history
                 if "learning_rate" in line}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BadInput(f"{file}: no log_history with steps and learning rates: expected it, "
                       "as transformers' Trainer writes it") from None
    logged = sorted(lines.items())
    if logged and logged[0][0] > 0:
        rising = len(logged) > 1 and logged[1][1] > logged[0][1]
        logged.insert(0, (0, 0.0 if rising else logged[0][1]))
    return tuple(logged)


def _weight_decay(places: Sequence[Path]) -> float | None:
    """That of training_args.bin, which transformers' Trainer saves beside the weights; None without one."""
    for place in places:
        file = place / "training_args.bin"
        value = number_in_pickle(file, "weight_decay") if file.is_file() else None
        if value is not None:
            return value
    return None


def number_in_pickle(file: Path, name: str) -> float | None:
    """The number after the text `name` in the pickle of a file that torch saved; nothing in it is run."""
    try:
        with zipfile.ZipFile(file) as opened:
            (entry,) = (info for info in opened.infolist() if info.filename.endswith("/data.pkl"))
            if entry.file_size > LARGEST_ARGUMENTS:
                return None
            operations = [(code.name, value) for code, value, _ in pickletools.genops(opened.read(entry))
                          if "PUT" not in code.name and code.name != "MEMOIZE"]
    except (OSError, ValueError, zipfile.BadZipFile, IndexError):
        return None
    for (_, text), (_, value) in itertools.pairwise(operations):
        if text == name and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None
