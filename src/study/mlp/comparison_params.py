"""The `init_comparison` section. Torch-free."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from study.base.params import Section, distinct
from study.mlp.optimizer_params import AdamW, Count, Depths, Lr, Momentum, Optimizers
from variance_dynamics.base.errors import BadInput
from variance_dynamics.weights.parameter import DENSE, Parameter
from variance_dynamics.weights.schemes import SCHEMES


class ComparisonTask(Section):
    """One dataset's minibatch size."""

    batch_size: Count


class LrGrid(Section):
    """The learning rates that each scheme is tried at; `shared_lr` is the one at which all are compared."""

    lrs: Annotated[list[Lr], Field(min_length=1)]
    shared_lr: Lr

    _distinct = field_validator("lrs")(distinct)

    @model_validator(mode="after")
    def _shared_is_in_the_grid(self) -> "LrGrid":
        if self.shared_lr not in self.lrs:
            raise ValueError(f"shared_lr is {self.shared_lr}: expected one of lrs {self.lrs}")
        return self


class GridMomentum(LrGrid, Momentum):
    pass


class GridAdamW(LrGrid, AdamW):
    pass


class GridOptimizers(Optimizers):
    sgd: LrGrid | None = None
    momentum: GridMomentum | None = None
    adamw: GridAdamW | None = None


class ComparisonParams(Section):
    """`depths` count weight layers; `schemes` are names in init.schemes.SCHEMES that fix their own std."""

    tasks: dict[str, ComparisonTask]
    width: Count
    depths: Depths
    schemes: Annotated[list[str], Field(min_length=1)]
    optimizers: GridOptimizers
    seeds: Count
    steps: Count
    eval_every: Count
    eval_rows: Count

    _distinct = field_validator("depths", "schemes")(distinct)

    @field_validator("schemes")
    @classmethod
    def _set_an_mlp(cls, schemes: list[str]) -> list[str]:
        known = [name for name in SCHEMES if _fixes_dense(name)]
        for scheme in schemes:
            if scheme not in known:
                raise ValueError(f"{scheme}: expected schemes that fix an MLP's std, {', '.join(known)}")
        return schemes


def _fixes_dense(name: str) -> bool:
    """Whether the scheme gives an MLP's layers a std that does not depend on the run's."""
    try:
        return all(
            SCHEMES[name].std(p, 1.0) == SCHEMES[name].std(p, 2.0)
            for p in (Parameter("", role, 1, 2, 3, 5) for role in DENSE)
        )
    except BadInput:
        return False
