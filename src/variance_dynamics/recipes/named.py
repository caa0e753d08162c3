"""Recipes by name, from a user's file or mapping, and by a model's config."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from variance_dynamics.base.errors import BadInput, check_name
from variance_dynamics.recipes.built_in import BUILT_IN
from variance_dynamics.recipes.recipe import Recipe, parse_recipe
from variance_dynamics.weights.schemes import OTHER_NAMES

LARGEST = 100_000
"""Bytes of a user's recipe."""
SUFFIXES = (".yaml", ".yml", ".json")


def recipe_named(recipe: str | Path | Mapping[str, Any] | Recipe) -> Recipe:
    """The recipe of this name, in this .yaml file, or that this mapping is.

    Raises BadInput for an unknown name, and for a recipe that cannot be read.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Mapping):
        return _own("of your own", recipe)
    if not isinstance(recipe, str | Path):
        raise BadInput(f"recipe is {recipe!r:.60}: expected the name of one, a mapping or a .yaml file")
    if isinstance(recipe, Path) or recipe.endswith(SUFFIXES):
        return _own(str(recipe), _loaded(Path(recipe)))
    check_name("recipe", recipe, BUILT_IN, OTHER_NAMES)
    return _built_in(recipe)


def recipe_of_config(config: Mapping[str, Any]) -> Recipe | None:
    """The recipe by which the library itself draws a model with this config; None for an unknown model_type.
    """
    model_type = config.get("model_type")
    known = isinstance(model_type, str) and model_type in _families()
    return _built_in(_families()[str(model_type)]) if known else None


def recipes_for(kind: str) -> list[Recipe]:
    """The built-in recipes to consider for this kind of network, where none is named."""
    return [_built_in(name) for name in BUILT_IN if kind in _built_in(name).auto]


@cache
def _built_in(name: str) -> Recipe:
    entries = BUILT_IN[name]
    return parse_recipe(name, entries, _built_in(entries["like"]) if "like" in entries else None)


@cache
def _families() -> dict[str, str]:
    return {family: name for name in BUILT_IN for family in _built_in(name).families}


def _own(name: str, entries: Mapping[str, Any]) -> Recipe:
    like = entries.get("like")
    return parse_recipe(name, entries, recipe_named(str(like)) if like else None)


def _loaded(path: Path) -> Mapping[str, Any]:
    """The mapping in a YAML file, which can hold nothing but plain values."""
    import yaml

    if not path.is_file():
        raise BadInput(f"recipe {path}: no such file: expected a .yaml file with roles and their rules")
    if path.stat().st_size > LARGEST:
        raise BadInput(f"recipe {path}: {path.stat().st_size:,} bytes: expected at most {LARGEST:,}")
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise BadInput(f"recipe {path}: {' '.join(str(problem).split())[:150]}: expected YAML") from None
    if not isinstance(entries, dict) or node is None:
        raise BadInput(f"recipe {path}: no mapping: expected roles or patterns with their rules")
    keys = [key.value for key, _ in node.value]
    twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if twice:
        raise BadInput(f"recipe {path}: {twice[0]!r} occurs {keys.count(twice[0])} times: expected it once")
    return entries
