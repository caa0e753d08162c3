"""params.yaml: read with DVC's own reader, with the chosen study's changes laid over it."""

import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from variance_dynamics.errors import BadInput

PATH = Path("params.yaml")
STUDY_KEYS = ("study", "studies")


class Section(BaseModel):
    """Base of every section's type: strict (no coercion), frozen, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


S = TypeVar("S", bound=BaseModel)
H = TypeVar("H", bound=Sequence[Hashable])


def distinct(entries: H) -> H:
    """A pydantic check: no entry of a list twice."""
    if len(set(entries)) != len(entries):
        raise ValueError("expected entries that differ")
    return entries


def load(path: str | Path = PATH) -> dict[str, Any]:
    """The file's tree as it stands, studies included.

    The reader is ruamel.yaml, as in DVC, so that a stage computes with what DVC tracks: to PyYAML, 1e-3 is
    a string, 010 is eight and `yes` is a bool.
    """
    try:
        tree = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise BadInput(f"{path}: {problem.strerror}: expected the study's params") from None
    except (YAMLError, UnicodeDecodeError) as problem:
        raise BadInput(f"{path}: {_yaml_problem(problem)}: expected valid YAML in UTF-8") from None
    if not isinstance(tree, dict):
        raise BadInput(f"{path}: {type(tree).__name__} at top level: expected a mapping of sections")
    return tree


def read(path: str | Path = PATH) -> dict[str, Any]:
    """The params tree after the study's overlay; sections stay plain dicts until `section` types them."""
    return overlaid(load(path))


def overlaid(tree: dict[str, Any]) -> dict[str, Any]:
    """The sections of a loaded tree, with the changes of the study that it names laid over them."""
    study, studies = tree.get("study"), tree.get("studies")
    if not isinstance(studies, dict) or not isinstance(study, str) or study not in studies:
        known = ", ".join(map(str, studies)) if isinstance(studies, dict) else "a name in a mapping `studies`"
        raise BadInput(f"params.yaml: study is {study!r}: expected one of {known}")
    sections = {name: value for name, value in tree.items() if name not in STUDY_KEYS}
    return dict(merged(sections, studies[study] or {}))


def merged(base: Any, change: Any) -> Any:
    """`change` laid over `base`, mapping by mapping; anything else is replaced."""
    if not (isinstance(base, dict) and isinstance(change, dict)):
        return change
    return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}


def section(tree: dict[str, Any], name: str, kind: type[S]) -> S:
    """One section as its strict type.

    Raises BadInput naming the key, its value and what was expected.
    """
    if name not in tree:
        raise BadInput(f"params.yaml: section {name} is missing: expected {', '.join(kind.model_fields)}")
    return typed(tree[name], name, kind)


def typed(value: Any, where: str, kind: type[S]) -> S:
    """`value` as `kind`; BadInput tells one problem in one line, first an unknown key: it explains others."""
    try:
        return kind.model_validate(value)
    except ValidationError as invalid:
        problems = invalid.errors(include_url=False)
        problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
        raise BadInput(f"params.yaml: {_told(problems, where)}") from None


def _told(problems: list[ErrorDetails], where: str) -> str:
    first = problems[0]
    key = _key(first, where)
    if first["type"] == "missing":
        return f"{key} is missing: expected a value"
    if first["type"] == "extra_forbidden":
        missing = [_key(problem, where) for problem in problems if problem["type"] == "missing"]
        return f"{key} is {_shown(first['input'])}: expected no such key" + "".join(
            f" ({each} is missing)" for each in missing[:1]
        )
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error" and isinstance(first["input"], dict):
        return f"{key}: {message}"  # a check over several keys names them itself
    if first["type"] in ("model_type", "dict_type"):
        message = "expected a mapping"
    message = re.sub(r"^[A-Z]\w+ should (be|have) ", "expected ", message)
    return f"{key} is {_shown(first['input'])}: {message}"


def _key(problem: ErrorDetails, where: str) -> str:
    return ".".join([where, *map(str, problem["loc"])])


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _yaml_problem(problem: Exception) -> str:
    mark = getattr(problem, "problem_mark", None)
    told = str(getattr(problem, "problem", None) or problem).splitlines()[0]
    return f"line {mark.line + 1}: {told}" if mark else told
