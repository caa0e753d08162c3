"""What training will do to the std of a weight matrix: the null law over a schedule, and what it means."""

import math
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from variance_dynamics.base.errors import BadInput, check_name
from variance_dynamics.base.schedules import SCHEDULES, learning_rate
from variance_dynamics.theory import null_law
from variance_dynamics.theory.laws import Law, Shape, law_of

Floats = NDArray[np.float64]
LONGEST = 10_000_000
"""Steps; a forecast of more would take minutes and gigabytes."""
LARGEST_STD = 1e100
"""Squares of larger ones are near the end of what a float64 can hold."""
FORGOTTEN = 0.05
"""The initial weights are forgotten once their share of the variance is below this."""
NEAR = 0.05
"""The std is in equilibrium when |ln(std / equilibrium)| is at most this, and the init is forgotten."""
STILL = 0.01
"""The std is frozen when it changes by less than this share over the last tenth of the steps."""
KINDS = (*((name, Integral, "a whole number") for name in ("steps", "warmup")), ("schedule", str, "a name"),
         ("weight_decay_schedule", str, "a name"),
         *((name, Real, "a number") for name in ("lr", "weight_decay", "min_lr_ratio")))
"""Types of TrainingSchedule's fields, which are checked because their values may come from a file."""


ADAMW = law_of("adamw")
DECAY_SCHEDULES = ("constant", "lr")
"""The weight decay as it is, or in proportion to the lr (arXiv 2506.02285, 2512.08217)."""


class Schedule(Protocol):
    """The learning rate and the decoupled weight decay of every update of a run.

    `lr` and `weight_decay` are those of the peak, `words` say the whole of it; `rates` and `decays` are [T].
    """

    @property
    def lr(self) -> float: ...

    @property
    def weight_decay(self) -> float: ...

    @property
    def steps(self) -> int: ...

    @property
    def words(self) -> str: ...

    @property
    def rates(self) -> Floats: ...

    @property
    def decays(self) -> Floats: ...


@dataclass(frozen=True)
class TrainingSchedule:
    """A schedule by its name: `lr` is the peak; `warmup` and `steps` count updates.

    The weight decay is that of the peak; `weight_decay_schedule` is one of DECAY_SCHEDULES. Raises BadInput
    where no run could follow it.
    """

    lr: float
    steps: int
    schedule: str = "cosine"
    warmup: int = 0
    weight_decay: float = 0.1
    min_lr_ratio: float = 0.1
    weight_decay_schedule: str = "constant"

    def __post_init__(self) -> None:
        for name, kind, expected in KINDS:
            value = getattr(self, name)
            _check(name.replace("_", " "), value, expected,
                   isinstance(value, kind) and not isinstance(value, bool))
        check_name("schedule", self.schedule, SCHEDULES)
        check_name("weight decay schedule", self.weight_decay_schedule, DECAY_SCHEDULES)
        _check("lr", self.lr, "a number above 0", 0 < self.lr < math.inf)
        _check("steps", self.steps, f"a whole number from 1 to {LONGEST:,}", 1 <= self.steps <= LONGEST)
        _check("warmup", self.warmup, f"a whole number from 0 to the {self.steps} steps",
               0 <= self.warmup <= self.steps)
        _check("weight decay", self.weight_decay, "0 or more", 0 <= self.weight_decay < math.inf)
        _check("min lr ratio", self.min_lr_ratio, "a number from 0 to 1", 0 <= self.min_lr_ratio <= 1)
        product = self.lr * self.weight_decay
        _check("lr x weight decay", product, "below 1, or a step would flip the weights' sign", product < 1)

    @cached_property
    def rates(self) -> Floats:
        """[T] learning rate of update 0..T-1."""
        shape = (self.lr, self.schedule, self.warmup, self.steps, self.min_lr_ratio)
        return np.array([learning_rate(step, *shape) for step in range(self.steps)])

    @cached_property
    def decays(self) -> Floats:
        """[T] weight decay of update 0..T-1."""
        if self.weight_decay_schedule == "lr":
            return self.weight_decay * (self.rates / self.lr)
        return np.full(self.steps, float(self.weight_decay))

    @property
    def words(self) -> str:
        """The schedule for a sentence."""
        follows = " in proportion to the lr" if self.weight_decay_schedule == "lr" else ""
        return (f"lr {self.lr:g}, {self.schedule}, warmup {self.warmup:,}, "
                f"weight decay {self.weight_decay:g}{follows}")


@dataclass(frozen=True)
class GivenSchedule:
    """A schedule as the rates [T] and decays [T] themselves, with `origin` for where they come from.

    Raises BadInput where no run could follow it.
    """

    rates: Floats
    decays: Floats
    origin: str

    def __post_init__(self) -> None:
        null_law.rates_and_left(self.rates, self.decays)
        _check(f"highest lr {self.origin}", self.rates.max(), "a number above 0", self.rates.max() > 0)

    @property
    def steps(self) -> int:
        """Number of updates."""
        return len(self.rates)

    @property
    def lr(self) -> float:
        """The highest."""
        return float(self.rates.max())

    @property
    def weight_decay(self) -> float:
        """Where the lr is highest."""
        return float(self.decays[self.rates.argmax()])

    @property
    def words(self) -> str:
        """The schedule for a sentence."""
        return f"lr to {self.lr:g}, {self.origin}, weight decay {self.weight_decay:g} there"


def _check(name: str, value: object, expected: str, holds: bool) -> None:
    if not holds:
        raise BadInput(f"{name} is {value}: expected {expected}")


@dataclass(frozen=True)
class Forecast:
    """The null law's prediction for one matrix; arrays [T+1] are after 0..T updates, std in weight units."""

    sigma_0: float
    schedule: Schedule
    law: Law = ADAMW

    @cached_property
    def std(self) -> Floats:
        """[T+1] Std of the weights."""
        return self.law.std(self.sigma_0, self.schedule.rates, self.schedule.decays)

    @cached_property
    def equilibrium(self) -> Floats:
        """[T] Std in the end if the lr of that update were kept; inf without weight decay."""
        return self.law.equilibria(self.schedule.rates, self.schedule.decays)

    @cached_property
    def share_of_init(self) -> Floats:
        """[T+1] Share of the variance that is left of the initial weights, from 1 to 0."""
        kept = self.sigma_0 * null_law.decay(self.schedule.rates, self.schedule.decays)
        return np.divide(kept**2, self.std**2, out=np.zeros_like(kept), where=self.std > 0)

    @property
    def peak_equilibrium(self) -> float:
        """Std in the end if the peak lr were kept; inf without weight decay."""
        if not (self.schedule.weight_decay and self.law.settles):
            return math.inf
        return float(self.law.equilibria(self.schedule.lr, self.schedule.weight_decay)[0])

    @property
    def time_constant(self) -> float:
        """Steps in which the variance closes 63% of its gap at the peak lr; weights fade half as fast."""
        return null_law.time_constant(self.schedule.lr, self.schedule.weight_decay)

    @property
    def forgotten(self) -> int | None:
        """Updates after which the initial weights hold less than FORGOTTEN of the variance; None if never."""
        below = np.flatnonzero(self.share_of_init < FORGOTTEN)
        return int(below[0]) if below.size else None

    @property
    def ending(self) -> str:
        """The state at the end: "in equilibrium" with its lr, "frozen" (the lr is spent), or "moving"."""
        before = self.std[-1 - max(1, self.schedule.steps // 10)]
        if self._settled[-1]:
            return "in equilibrium"
        return "frozen" if abs(self.std[-1] - before) <= STILL * self.std[-1] else "moving"

    @property
    def met_equilibrium(self) -> int | None:
        """Updates until the std first was in equilibrium with its lr, init being forgotten; None if never."""
        met = np.flatnonzero(self._settled)
        return int(met[0]) + 1 if met.size else None

    @property
    def _settled(self) -> "NDArray[np.bool_]":
        """[T] Whether the std after update t is in equilibrium with its lr, and the init is forgotten."""
        with np.errstate(divide="ignore", invalid="ignore"):
            near = np.abs(np.log(self.std[1:] / self.equilibrium)) <= NEAR
        return near & (self.share_of_init[1:] < FORGOTTEN)


def check_std(std: float) -> None:
    """Raises BadInput for what is no initial std."""
    _check("std", std, f"a number from 0 to {LARGEST_STD:g}", 0 <= std <= LARGEST_STD)


def forecast(std: float, lr: float, steps: int, schedule: str = "cosine", warmup: int = 0,
             weight_decay: float = 0.1, min_lr_ratio: float = 0.1, *, optimizer: str = "adamw",
             weight_decay_schedule: str = "constant", shape: Shape | None = None,
             adjust_lr: str = "original") -> Forecast:
    """The std of a weight matrix over a training run, before it starts.

    For AdamW no parameter is fitted; `theory.laws` says what was chosen for Muon.

    `std` is the initial one in weight units; `lr` is the peak; `warmup` and `steps` count updates. The
    weight decay is decoupled, and with `weight_decay_schedule` "lr" in proportion to the lr. `optimizer` is
    one of `theory.laws.LAWS`; Muon's law needs the matrix's `shape` (rows, columns) and how it adjusts the
    lr. Raises BadInput for a schedule that no run could follow, and for an optimizer without a law.

    >>> predicted = forecast(std=0.02, lr=6e-4, steps=20_000, schedule="constant")
    >>> print(f"{predicted.std[-1]:.4f} on the way to {predicted.peak_equilibrium:.4f}")
    0.0526 on the way to 0.0548
    """
    check_std(std)
    plan = TrainingSchedule(lr, steps, schedule, warmup, weight_decay, min_lr_ratio, weight_decay_schedule)
    return Forecast(std, plan, law_of(optimizer, weight_decay, shape, adjust_lr))
