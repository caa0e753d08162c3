"""The params sections `mlp_sweep` (E1) and `init_comparison` (E2). Nothing here imports torch."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from study.base.params import Section, Size, distinct
from variance_dynamics.base.errors import BadInput
from variance_dynamics.weights.parameter import DENSE, Parameter
from variance_dynamics.weights.schemes import SCHEMES

Count = Annotated[int, Field(ge=1)]
LR_KEYS = {"lr", "lrs", "shared_lr"}


@dataclass(frozen=True)
class TrainingPlan:
    """How many steps every model trains, and after how many of them it is evaluated.

    `eval_rows` limits the rows of the validation split in each evaluation, and the training rows from which
    second moments are computed.
    """

    steps: int
    eval_every: int
    eval_rows: int

    @property
    def eval_steps(self) -> list[int]:
        """The numbers of updates after which models are evaluated, 0 and `steps` among them."""
        return [*range(0, self.steps, self.eval_every), self.steps]


class MomentumSettings(Section):
    """SGD with momentum, without its learning rate."""

    momentum: Annotated[float, Field(ge=0, lt=1)]


class AdamWSettings(Section):
    """Adam with decoupled weight decay: a step multiplies every parameter by 1 - lr * weight_decay."""

    beta1: Annotated[float, Field(ge=0, lt=1)]
    beta2: Annotated[float, Field(ge=0, lt=1)]
    eps: Size
    weight_decay: Annotated[float, Field(ge=0)]


class Optimizers(Section):
    """A section's `optimizers`: a field for each entry of mlp.updates.UPDATES; null leaves it out."""

    @model_validator(mode="after")
    def _at_least_one(self) -> "Optimizers":
        if not self.chosen():
            raise ValueError(f"no optimizer: expected one of {', '.join(type(self).model_fields)} at least")
        return self

    def chosen(self) -> dict[str, Any]:
        """The settings of the optimizers that are not left out, in the order of the fields."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: settings for name, settings in fields.items() if settings is not None}

    def options(self) -> dict[str, dict[str, float]]:
        """The settings of each chosen optimizer, without learning rates."""
        return {name: settings.model_dump(exclude=LR_KEYS) for name, settings in self.chosen().items()}


class MlpExperiment(Section):
    """What both sections hold. `depths` are numbers of weight layers; for the last three see `plan`."""

    optimizers: Optimizers
    depths: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)]
    seeds: Count
    steps: Count
    eval_every: Count
    eval_rows: Count

    _distinct_depths = field_validator("depths")(distinct)

    @property
    def plan(self) -> TrainingPlan:
        return TrainingPlan(self.steps, self.eval_every, self.eval_rows)


class MlpSweepTask(Section):
    """The minibatch size and the network widths for one dataset of E1."""

    batch_size: Count
    widths: Annotated[list[Count], Field(min_length=1)]

    _distinct = field_validator("widths")(distinct)


class OneLr(Section):
    lr: Size


class MomentumWithOneLr(OneLr, MomentumSettings):
    pass


class AdamWWithOneLr(OneLr, AdamWSettings):
    pass


class MlpSweepOptimizers(Optimizers):
    sgd: OneLr | None = None
    momentum: MomentumWithOneLr | None = None
    adamw: AdamWWithOneLr | None = None


class Stds(Section):
    """A log-spaced grid of stds from `low` to `high`, finer near the critical std sqrt(2 / width).

    There are `per_decade` stds in a factor of 10, and `refined_per_decade` between the critical std divided
    by `refined_below` and the critical std times `refined_above`.
    """

    low: Size
    high: Size
    per_decade: Count
    refined_per_decade: Count
    refined_below: Annotated[float, Field(ge=1)]
    refined_above: Annotated[float, Field(ge=1)]

    @model_validator(mode="after")
    def _one_lattice(self) -> "Stds":
        if self.high < self.low:
            raise ValueError(f"high is {self.high}: expected at least low, {self.low}")
        if self.refined_per_decade % self.per_decade:
            fine, coarse = self.refined_per_decade, self.per_decade
            raise ValueError(f"refined_per_decade is {fine}: expected a multiple of per_decade, {coarse}")
        return self


class MlpSweepParams(MlpExperiment):
    """E1, the section `mlp_sweep`: `tasks` by dataset."""

    tasks: dict[str, MlpSweepTask]
    optimizers: MlpSweepOptimizers
    stds: Stds


class InitComparisonTask(Section):
    """The minibatch size for one dataset of E2."""

    batch_size: Count


class LrGrid(Section):
    """The learning rates at which each scheme is trained, and the one at which all schemes are compared."""

    lrs: Annotated[list[Size], Field(min_length=1)]
    shared_lr: Size

    _distinct = field_validator("lrs")(distinct)

    @model_validator(mode="after")
    def _shared_is_in_the_grid(self) -> "LrGrid":
        if self.shared_lr not in self.lrs:
            raise ValueError(f"shared_lr is {self.shared_lr}: expected one of lrs {self.lrs}")
        return self


class MomentumWithLrGrid(LrGrid, MomentumSettings):
    pass


class AdamWWithLrGrid(LrGrid, AdamWSettings):
    pass


class InitComparisonOptimizers(Optimizers):
    sgd: LrGrid | None = None
    momentum: MomentumWithLrGrid | None = None
    adamw: AdamWWithLrGrid | None = None


class InitComparisonParams(MlpExperiment):
    """E2, the section `init_comparison`: `tasks` by dataset; `schemes` are those that fix an MLP's std."""

    tasks: dict[str, InitComparisonTask]
    width: Count
    schemes: Annotated[list[str], Field(min_length=1)]
    optimizers: InitComparisonOptimizers

    _distinct_schemes = field_validator("schemes")(distinct)

    @field_validator("schemes")
    @classmethod
    def _fix_the_std(cls, schemes: list[str]) -> list[str]:
        known = [name for name in SCHEMES if _fixes_std(name)]
        for scheme in schemes:
            if scheme not in known:
                raise ValueError(f"{scheme}: expected schemes that fix an MLP's std, {', '.join(known)}")
        return schemes


def _fixes_std(scheme: str) -> bool:
    """Whether the scheme gives each of an MLP's layers a std that does not depend on the run's own std."""
    std = SCHEMES[scheme].std
    try:
        return all(std(p, 1.0) == std(p, 2.0) for p in (Parameter("", role, 1, 2, 3, 5) for role in DENSE))
    except BadInput:
        return False
