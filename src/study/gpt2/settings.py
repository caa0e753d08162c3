"""E3 over the settings that the paper may have had: a fraction of all combinations of two-level factors.

Each run of the design is GPT-2 with one level of every factor. With up to five factors the design holds all
combinations. The sixth, seventh and eighth factor are products of others (Box and Hunter 1961, 2^(8-3)): main
effects are then mixed with no other main effect and with no interaction of two factors (resolution IV).
"""

from itertools import product
from typing import Annotated, Any

from pydantic import Field, field_validator

from study.base.params import NAME, Section, distinct, merged, section
from study.gpt2.params import Count, Gpt2Run, resolve

SECTION = "gpt2_settings"
BASE = 5
"""Factors that take all combinations of their levels."""
PRODUCTS = ((0, 1, 2), (0, 1, 3), (1, 2, 3, 4))
"""The sixth, seventh and eighth factor: level 1 where an odd number of these factors has level 1."""
Level = dict[str, Any]


class SettingsParams(Section):
    """Section gpt2_settings. Without seeds nothing is trained."""

    steps: Count
    warmup_steps: Annotated[int, Field(ge=0)]
    seeds: list[Annotated[int, Field(ge=0)]]
    factors: dict[str, Annotated[list[Level], Field(min_length=2, max_length=2)]]

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        return distinct(seeds)

    @field_validator("factors")
    @classmethod
    def _factors_have_a_design(cls, factors: dict[str, list[Level]]) -> dict[str, list[Level]]:
        if not 1 <= len(factors) <= BASE + len(PRODUCTS):
            raise ValueError(f"expected 1 to {BASE + len(PRODUCTS)} factors")
        wrong = [name for name in factors if not NAME.fullmatch(name)]
        if wrong:
            raise ValueError(f"{wrong[0]!r}: expected letters, digits, _ and -")
        return factors


def design(factors: int) -> list[tuple[int, ...]]:
    """Rows of levels, each 0 or 1 for the first or second, one column a factor; 32 rows from five factors on.

    The first row has every factor at its first level.
    """
    more = PRODUCTS[: max(0, factors - BASE)]
    return [(*levels, *(sum(levels[i] for i in chosen) % 2 for chosen in more))
            for levels in product((0, 1), repeat=min(factors, BASE))]


def settings(params: SettingsParams) -> dict[str, dict[str, int]]:
    """Name of a run of the design -> the level of each factor. The name holds the levels: s01101001."""
    rows = design(len(params.factors))
    return {"s" + "".join(map(str, row)): dict(zip(params.factors, row, strict=True)) for row in rows}


def resolved(tree: dict[str, Any]) -> dict[str, Gpt2Run]:
    """The run of each setting: section gpt2 and its preset, with the design's length and the factors' levels.

    Raises BadInput for a level that sets an unknown key or a bad value, as for an arm.
    """
    params = section(tree, SECTION, SettingsParams)
    length = {"steps": params.steps, "warmup_steps": params.warmup_steps}
    arms: dict[str, Level] = {}
    for name, levels in settings(params).items():
        arms[name] = length
        for factor, level in levels.items():
            arms[name] = merged(arms[name], params.factors[factor][level])
    return {name: resolve(tree | {"gpt2_arms": arms}, name) for name in arms}
