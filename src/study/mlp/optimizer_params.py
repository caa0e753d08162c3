"""What the params of both MLP experiments share: optimizers but for their learning rates. Torch-free."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from study.base.params import Section

Count = Annotated[int, Field(ge=1)]
Depths = Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)]
"""Numbers of weight layers."""
Lr = Annotated[float, Field(gt=0)]
LR_KEYS = {"lr", "lrs", "shared_lr"}


class Momentum(Section):
    """SGD with momentum."""

    momentum: Annotated[float, Field(ge=0, lt=1)]


class AdamW(Section):
    """Adam with decoupled weight decay: a step shrinks every parameter by lr * weight_decay."""

    beta1: Annotated[float, Field(ge=0, lt=1)]
    beta2: Annotated[float, Field(ge=0, lt=1)]
    eps: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]


class Optimizers(Section):
    """A section's `optimizers`: a field for each of training.updates.UPDATES, null to leave it out."""

    @model_validator(mode="after")
    def _at_least_one(self) -> "Optimizers":
        if not self.chosen():
            raise ValueError(f"no optimizer: expected one of {', '.join(type(self).model_fields)} at least")
        return self

    def chosen(self) -> dict[str, Any]:
        """The optimizers to run, in order of their fields."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: settings for name, settings in fields.items() if settings is not None}

    def options(self) -> dict[str, dict[str, float]]:
        """Each chosen optimizer's own settings."""
        return {name: settings.model_dump(exclude=LR_KEYS) for name, settings in self.chosen().items()}
