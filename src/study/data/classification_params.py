"""Params section `classification`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from study.base.params import Section, distinct, pinned

Fraction = Annotated[float, Field(gt=0, lt=1)]


class MnistParams(Section):
    source: Literal["hub", "files"]
    path: Annotated[str, Field(min_length=1)]
    hub_name: Annotated[str, Field(min_length=1)]
    hub_revision: Annotated[str, AfterValidator(pinned)]


class ClassificationParams(Section):
    """`datasets` are names in inputs.classification.DATASETS; the fractions are shares of a whole dataset.

    MNIST has a test set of its own, so only `val_fraction` applies to it.
    """

    datasets: Annotated[list[str], Field(min_length=1)]
    seed: Annotated[int, Field(ge=0)]
    val_fraction: Fraction
    test_fraction: Fraction
    mnist: MnistParams

    _distinct = field_validator("datasets")(distinct)

    @model_validator(mode="after")
    def _leaves_training_data(self) -> "ClassificationParams":
        if self.val_fraction + self.test_fraction >= 1:
            shares = f"val_fraction {self.val_fraction}, test_fraction {self.test_fraction}"
            raise ValueError(f"{shares}: expected a sum below 1, which leaves data to train on")
        return self
