"""What tracking adds to a training step: ours, and histograms of every parameter as experiment trackers take.

All watch one run of preset cpu in turn, through the calls that `Pretraining.advance` makes. The time of those
calls is divided by the time of the rest of the same steps. "weights" is std, mean, rms, absmax and kurtosis
of the 74 matrices; "everything" adds the gradients' norm and kurtosis, the update's rms, epsilon's share and
the displacements from the start and over windows. The peer counts 64 bins of each of the 197 parameters, and
for "everything" also of each gradient, and fetches the counts.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from gpt2_runs import CONTENTS, SCHEDULES, Switch, on_random_tokens, undisturbed, watching
from measure import Row, spread
from torch import Tensor, nn

OURS, PEER = "ours", "histograms of every parameter"
STEPS = {"every step": 3, "one step in ten": 10}
"""In one timed call."""
BINS = 64


class Histograms:
    """Histograms of all parameters after a step, and on request of their gradients before the update."""

    def __init__(self, model: nn.Module, gradients: bool, schedule: Callable[[int], bool]) -> None:
        self.parameters, self.gradients, self.schedule = list(model.parameters()), gradients, schedule
        self.kept: list[Any] = []
        self.steps = 0

    def before_step(self) -> None:
        if self.gradients and self.schedule(self.steps + 1):
            self.kept = counted(parameter.grad for parameter in self.parameters)

    def step(self) -> None:
        self.steps += 1
        if self.schedule(self.steps):
            self.kept = counted(parameter.detach() for parameter in self.parameters)


def counted(tensors: Iterable[Tensor | None]) -> list[Any]:
    """The lowest value, the highest value and the counts between them, for each tensor."""
    counts = []
    for tensor in tensors:
        assert tensor is not None
        values = tensor.flatten()
        low, high = values.min().item(), values.max().item()
        counts.append((low, high, torch.histc(values, BINS, low, high).tolist()))
    return counts


class Clock(Switch):
    """A Switch that sums up the seconds of the watcher's calls."""

    seconds = 0.0

    def before_step(self) -> None:
        self._timed(super().before_step)

    def step(self) -> None:
        self._timed(super().step)

    def _timed(self, call: Callable[[], None]) -> None:
        if self.watcher is not None:
            started = time.perf_counter()
            call()
            self.seconds += time.perf_counter() - started


Case = tuple[str, str, str]
"""What is tracked, how often, and by whom."""


class Setting:
    """One run, and everyone who may watch it."""

    def __init__(self, **changes: Any) -> None:
        self.training = on_random_tokens(undisturbed("cpu", **changes))
        self.clock = Clock(self.training)
        self.watchers: dict[Case, Any] = {}
        for content, kinds in CONTENTS.items():
            for rate, due in SCHEDULES.items():
                self.watchers[content, rate, OURS] = watching(self.training, kinds, due)
                theirs = Histograms(self.training.model, content != "weights", due)
                self.watchers[content, rate, PEER] = theirs
        for case in self.watchers:
            self.share(case, 2)

    def share(self, case: Case, steps: int) -> float:
        """Percent that watching adds to so many steps."""
        self.clock.watcher, self.clock.seconds = self.watchers[case], 0.0
        started = time.perf_counter()
        for _ in range(steps):
            self.training.advance()
        rest = time.perf_counter() - started - self.clock.seconds
        return 100 * self.clock.seconds / rest


def rows(rounds: int = 5, **changes: Any) -> list[Row]:
    """Everyone once in each round: ten steps at one dump in ten, three at a dump in every step."""
    setting = Setting(**changes)
    shares: dict[Case, list[float]] = {case: [] for case in setting.watchers}
    for number in range(rounds):
        for case in shares:
            shares[case].append(setting.share(case, STEPS[case[1]]))
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return [row(case, shares) for case in shares]


def row(case: Case, shares: dict[Case, list[float]]) -> Row:
    """The percentages that one added, and their ratios to what ours added in the same rounds."""
    content, rate, who = case
    ratios = [theirs / ours for theirs, ours in zip(shares[case], shares[content, rate, OURS], strict=True)]
    return {"bench": "tracking", "shape": f"{content}, {rate}", "peer": who, "unit": "% of a step",
            **spread(shares[case]), **spread(ratios, "ratio_")}


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
