"""params.yaml: read as DVC reads it (YAML 1.2 numbers), with the chosen study's changes laid over it."""

import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from variance_dynamics.errors import BadInput

PATH = Path("params.yaml")
STUDY_KEYS = ("study", "studies")


class Section(BaseModel):
    """Base of every section's type: strict (no coercion), frozen, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


S = TypeVar("S", bound=BaseModel)


def distinct(entries: list[Any]) -> list[Any]:
    """A pydantic check: no entry of a list twice."""
    if len(set(entries)) != len(entries):
        raise ValueError("expected entries that differ")
    return entries


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2 floats (1e-3 is a number), as in DVC's own reader."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        repeated = {key for key in keys if keys.count(key) > 1}
        if repeated:
            raise BadInput(f"params.yaml: key {sorted(repeated)[0]!r} appears twice in one mapping: expected once")
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"),
    list("-+0123456789."),
)


def read(path: str | Path = PATH) -> dict[str, Any]:
    """The params tree after the study's overlay; sections stay plain dicts until `section` types them."""
    try:
        tree = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file: expected the study's params") from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise BadInput(f"{path}: not valid YAML: {problem}") from None
    if not isinstance(tree, dict):
        raise BadInput(f"{path}: {type(tree).__name__} at top level: expected a mapping of sections")
    return _overlaid(tree)


def _overlaid(tree: dict[str, Any]) -> dict[str, Any]:
    study, studies = tree.get("study"), tree.get("studies")
    if not isinstance(studies, dict) or not isinstance(study, str) or study not in studies:
        known = ", ".join(map(str, studies)) if isinstance(studies, dict) else "a mapping in `studies`"
        raise BadInput(f"params.yaml: study is {study!r}: expected one of {known}")
    sections = {name: value for name, value in tree.items() if name not in STUDY_KEYS}
    return merged(sections, studies[study] or {})


def merged(base: Any, change: Any) -> Any:
    """`change` laid over `base`, mapping by mapping; anything else is replaced."""
    if not (isinstance(base, dict) and isinstance(change, dict)):
        return change
    return {key: merged(base[key], change[key]) if key in base and key in change else change.get(key, base.get(key))
            for key in [*base, *(key for key in change if key not in base)]}


def section(tree: dict[str, Any], name: str, kind: type[S]) -> S:
    """One section as its strict type.

    Raises BadInput naming the key, its value and what was expected.
    """
    if name not in tree:
        raise BadInput(f"params.yaml: section {name} is missing: expected {', '.join(kind.model_fields)}")
    return typed(tree[name], name, kind)


def typed(value: Any, where: str, kind: type[S]) -> S:
    """`value` as `kind`, with the first problem told in one line."""
    try:
        return kind.model_validate(value)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        key = ".".join([where, *(str(part) for part in first["loc"])])
        if first["type"] == "missing":
            raise BadInput(f"params.yaml: {key} is missing: expected a value") from None
        if first["type"] == "extra_forbidden":
            raise BadInput(f"params.yaml: {key} is {first['input']!r}: expected no such key") from None
        message = first["msg"].removeprefix("Value error, ")
        raise BadInput(f"params.yaml: {key} is {first['input']!r}: {message}") from None
