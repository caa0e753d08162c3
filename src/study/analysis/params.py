"""The `analyze` section: every threshold of a claim's rule, fixed before looking."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from study.base.params import NAME, Section, Size, distinct
from variance_dynamics.base.errors import BadInput

RECORDED = Path("data/recorded")
LOCAL = "local"
"""The name of this run in tables and verdicts. The name of a recorded run is that of its folder."""
COUNTED = (("e1", "tail_fraction"), ("e2", "threshold"), ("e2", "smoothing_steps"))
"""Params that the outcomes of a recorded run were counted by (mlp.measured).

A recorded run does not keep every step's loss, so its outcomes cannot be counted again by other values.
"""


def _ascending(ends: list[float]) -> list[float]:
    if not ends[0] < ends[1]:
        raise ValueError("expected the low end before the high one")
    return ends


Proportion = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Band = Annotated[list[Positive], Field(min_length=2, max_length=2), AfterValidator(_ascending)]


class E1Rules(Section):
    """E1's rules. Regimes go by the mean train loss of the last `tail_fraction` of steps / ln(classes)."""

    tail_fraction: Proportion
    trains_below: Annotated[float, Field(gt=0, lt=1)]
    exploding_above: Annotated[float, Field(gt=1)]
    vanishing_within: Positive
    paper_band: Band
    regimes_share: Proportion
    overlap: Proportion
    fan_in: Proportion

    @field_validator("vanishing_within")
    @classmethod
    def _regimes_do_not_overlap(cls, within: float, info: ValidationInfo) -> float:
        room = min(1 - info.data.get("trains_below", 0), info.data.get("exploding_above", 2) - 1)
        if within > room:
            raise ValueError(f"expected at most {room:g}, 1's distance from trains_below or exploding_above")
        return within


class E2Rules(Section):
    """E2's rules. Steps count until `smoothing_steps` losses have a mean below `threshold` ln(classes)."""

    threshold: Annotated[float, Field(gt=0, lt=1)]
    smoothing_steps: Annotated[int, Field(ge=1)]
    censored_share: Proportion
    max_cells: Annotated[int, Field(ge=1)]


class E3Rules(Section):
    """E3's rules. Horizons and last_share are shares of a run's steps."""

    arm: str
    constant_arm: str
    shallow_layers: Annotated[int, Field(ge=1)]
    horizons: Annotated[list[Proportion], Field(min_length=1)]
    primary_horizon: Proportion
    narrow_slope: Positive
    narrow_spread: Positive
    settle_time_constants: Positive
    last_share: Annotated[float, Field(gt=0, lt=1)]
    null_band: Band
    null_from_step: Annotated[int, Field(ge=0)]

    def shown(self, arms: Collection[str]) -> str:
        """The arm that single numbers are of: the claims' arm if it is in `arms`, else the first by name."""
        return self.arm if self.arm in arms else min(arms)

    @field_validator("primary_horizon")
    @classmethod
    def _one_of_the_horizons(cls, primary: float, info: ValidationInfo) -> float:
        if primary not in info.data.get("horizons", [primary]):
            raise ValueError(f"expected one of horizons {info.data['horizons']}")
        return primary


class Recipes(Section):
    """The models that the table of recipes is for: a ReLU MLP's layer sizes, and a GPT-2 with its AdamW."""

    mlp_sizes: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2)]
    n_layer: Annotated[int, Field(ge=1)]
    n_embd: Annotated[int, Field(ge=1)]
    lr: Size
    weight_decay: Annotated[float, Field(ge=0)]

    @field_validator("weight_decay")
    @classmethod
    def _a_step_leaves_something(cls, decay: float, info: ValidationInfo) -> float:
        if decay * info.data.get("lr", 0) >= 1:
            raise ValueError(f"expected less than 1 / lr = {1 / info.data['lr']:g}")
        return decay


class AnalyzeParams(Section):
    """Section `analyze`: intervals at `confidence`, from `bootstrap` draws of the stream of `seed`."""

    recorded: list[str]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    bootstrap: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]
    e1: E1Rules
    e2: E2Rules
    e3: E3Rules
    recipes: Recipes

    _distinct = field_validator("recorded")(distinct)


def recorded(name: str) -> Path:
    """The folder of a recorded run. Raises BadInput if there is none of that name."""
    if not NAME.fullmatch(name) or name == LOCAL or not (RECORDED / name).is_dir():
        known = ", ".join(sorted(path.name for path in RECORDED.glob("*/"))) or "none yet"
        expected = f"a folder in {RECORDED} ({known})"
        raise BadInput(f"params.yaml: analyze.recorded has {name!r}: expected {expected}")
    return RECORDED / name


def counted_alike(params: AnalyzeParams, folder: Path) -> None:
    """Check that the recorded run in `folder` was counted by the values of COUNTED that `params` has.

    Otherwise its verdicts would stand beside a rule that they do not follow. A run without E1 and E2, or one
    whose provenance.json does not say, passes. Raises BadInput.
    """
    file = folder / "provenance.json"
    if not (file.is_file() and any((folder / name).is_dir() for name in ("mlp_sweep", "init_comparison"))):
        return
    recorded = json.loads(file.read_text(encoding="utf-8")).get("params", {}).get("analyze", {})
    for section, key in COUNTED:
        wanted = getattr(getattr(params, section), key)
        used = recorded.get(section, {}).get(key, wanted)
        if used != wanted:
            raise BadInput(f"params.yaml: analyze.{section}.{key} is {wanted}: expected {used}, by which the "
                           f"recorded run {folder.name} was counted, or analyze.recorded without it")
