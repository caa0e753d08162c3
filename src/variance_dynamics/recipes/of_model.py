"""A recipe's plan for a live model."""

import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from variance_dynamics.recipes.built_in import BUILT_IN
from variance_dynamics.recipes.plan import Described, Plan
from variance_dynamics.recipes.recipe import Recipe
from variance_dynamics.roles.of_model import config_of, owners, roles_of


def plan_of(model: nn.Module, recipe: Recipe, std: float | None = None,
            patterns: Mapping[str, str] | None = None, config: Mapping[str, Any] | None = None) -> Plan:
    """What `recipe` says of each parameter of `model`; patterns and config as for `roles_of`.

    A warning names patterns of a recipe of one's own that match nothing.
    """
    known = dict(config or config_of(model))
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    described = Described(roles_of(model, patterns, known), shapes, known, owners(model))
    plan = Plan(recipe, described, described.std(recipe, std))
    for pattern in () if recipe.name in BUILT_IN else plan.unmatched:
        warnings.warn(f"pattern {pattern!r} of recipe {recipe.name} matches no parameter", stacklevel=2)
    return plan
