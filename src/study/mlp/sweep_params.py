"""The `mlp_sweep` section. Torch-free."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from study.base.params import Section, distinct
from study.mlp.optimizer_params import AdamW, Count, Depths, Lr, Momentum, Optimizers


class SweepTask(Section):
    """One dataset's minibatch size and network widths."""

    batch_size: Count
    widths: Annotated[list[Count], Field(min_length=1)]

    _distinct = field_validator("widths")(distinct)


class SweepSgd(Section):
    lr: Lr


class SweepMomentum(Momentum):
    lr: Lr


class SweepAdamW(AdamW):
    lr: Lr


class SweepOptimizers(Optimizers):
    sgd: SweepSgd | None = None
    momentum: SweepMomentum | None = None
    adamw: SweepAdamW | None = None


class Stds(Section):
    """A log grid from `low` to `high`, finer near the critical std sqrt(2 / width).

    `refined_per_decade` holds from a factor `refined_below` under it to a factor `refined_above` over it.
    """

    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]
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


class MlpSweepParams(Section):
    """`depths` count weight layers; `eval_rows` is how many rows of the validation split are used at most."""

    tasks: dict[str, SweepTask]
    depths: Depths
    optimizers: SweepOptimizers
    seeds: Count
    steps: Count
    eval_every: Count
    eval_rows: Count
    stds: Stds

    _distinct = field_validator("depths")(distinct)
