"""params.yaml: read as DVC reads it, changed as the chosen study says, and typed section by section."""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from variance_dynamics.base.errors import BadInput

PATH = Path("params.yaml")
STUDY_KEYS = ("study", "studies")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
"""Names that are safe as a key for DVC, as a part of a command line and as the name of a folder."""
MOST_VALUES = 10_000
"""Most values in one file. An alias counts each time it is used: ten lines of aliases can make billions."""


class Section(BaseModel):
    """Base of every section's type: strict types, no change afterwards, no unknown key, NaN or infinity."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


Knobs = Callable[[], Mapping[str, Any]]
"""Reads the file and gives the values in it that decide a stage's result, by section."""
S = TypeVar("S", bound=BaseModel)
H = TypeVar("H", bound=Sequence[Hashable])


def _held(size: float) -> float:
    """A pydantic check: as a float32, in which weights are kept, a number is neither 0 nor infinite."""
    if not 1e-37 <= size <= 1e37:
        raise ValueError("expected 1e-37 to 1e37, which float32 can hold")
    return size


Size = Annotated[float, Field(gt=0), AfterValidator(_held)]


def distinct(entries: H) -> H:
    """A pydantic check: a list holds no entry twice."""
    if len(set(entries)) != len(entries):
        raise ValueError("expected entries that differ")
    return entries


def pinned(revision: str) -> str:
    """A pydantic check: a commit of the hub. A branch or a tag may hold other data tomorrow."""
    if not re.fullmatch("[0-9a-f]{40}", revision):
        raise ValueError("expected the 40 hex digits of a commit")
    return revision


def load(path: str | Path = PATH) -> dict[str, Any]:
    """The file's tree as it is written, with the studies. Raises BadInput for a file that is not valid."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as problem:
        raise BadInput(f"{path}: {problem.strerror}: expected the study's params") from None
    except UnicodeDecodeError as problem:
        raise BadInput(f"{path}: {_yaml_problem(problem)}: expected valid YAML in UTF-8") from None
    return parsed(text, path)


def parsed(text: str, path: str | Path = PATH) -> dict[str, Any]:
    """The tree in the text of a file; `path` is for messages. Raises BadInput as `load` does.

    The reader is ruamel.yaml, as in DVC, so that a stage computes with the values that DVC tracks: for
    PyYAML, 1e-3 is a string, 010 is eight and `yes` is a bool.
    """
    try:
        tree = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, LookupError, RecursionError) as problem:  # also of dates and nesting
        raise BadInput(f"{path}: {_yaml_problem(problem)}: expected valid YAML in UTF-8") from None
    if not isinstance(tree, dict):
        raise BadInput(f"{path}: {type(tree).__name__} at top level: expected a mapping of sections")
    _check_plain(path, tree)
    return tree


def _check_plain(path: str | Path, tree: dict[Any, Any]) -> None:
    """Refuse anything but mappings with names as keys, lists and scalars, and more than `MOST_VALUES`.

    YAML also has dates, sets and mappings that hold themselves.
    """
    waiting: list[tuple[str, Any]] = [("", tree)]
    for _ in range(MOST_VALUES):
        if not waiting:
            return
        where, value = waiting.pop()
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise BadInput(f"{path}: {where}key {_shown(key)}: expected a name, in quotes if need be")
            waiting += [(f"{where}{key}.", each) for key, each in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{where}{number}.", each) for number, each in enumerate(value)]
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise BadInput(f"{path}: {where.rstrip('.')} is beyond 64 bits: expected a smaller whole number")
        elif not isinstance(value, str | int | float | None):
            kinds = "a number, text, true, false, null, a list or a mapping"
            raise BadInput(f"{path}: {where.rstrip('.')} is {_shown(value)}: expected {kinds}")
    raise BadInput(f"{path}: more than {MOST_VALUES} values, those of aliases counted: expected fewer")


def read(path: str | Path = PATH) -> dict[str, Any]:
    """The sections with the chosen study's changes, as plain dicts; `section` gives one its type."""
    return overlaid(load(path))


def only(*names: str) -> Knobs:
    """A function that reads the file again and gives the sections of these names."""

    def sections() -> dict[str, Any]:
        tree = read()
        return {name: tree.get(name) for name in names}

    return sections


def overlaid(tree: dict[str, Any]) -> dict[str, Any]:
    """The sections of a loaded tree, with the changes of the study that it names.

    Raises BadInput when it names none that is in `studies`.
    """
    study, studies = tree.get("study"), tree.get("studies")
    if not isinstance(studies, dict) or not isinstance(study, str) or study not in studies:
        known = ", ".join(map(str, studies)) if isinstance(studies, dict) else "a name in a mapping `studies`"
        raise BadInput(f"params.yaml: study is {study!r}: expected one of {known}")
    sections = {name: value for name, value in tree.items() if name not in STUDY_KEYS}
    return dict(merged(sections, studies[study] or {}))


def merged(base: Any, change: Any) -> Any:
    """`base` with the entries of `change`: mappings are merged, anything else is replaced."""
    if not (isinstance(base, dict) and isinstance(change, dict)):
        return change
    return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}


def section(tree: dict[str, Any], name: str, kind: type[S]) -> S:
    """One section of the tree as its type. Raises BadInput with the key, its value and what was expected."""
    if name not in tree:
        raise BadInput(f"params.yaml: section {name} is missing: expected {', '.join(kind.model_fields)}")
    return typed(tree[name], name, kind)


def typed(value: Any, where: str, kind: type[S]) -> S:
    """`value` as `kind`. Raises BadInput with one problem, first an unknown key, as it explains others."""
    try:
        return kind.model_validate(value)
    except ValidationError as invalid:
        raise _bad(invalid.errors(include_url=False), where) from None


def check_each(value: Any, where: str, kind: type[S]) -> None:
    """Raises BadInput where a value cannot be `kind`'s, whatever other keys and values there are."""
    try:
        kind.model_validate(value)
    except ValidationError as invalid:
        problems = [each for each in invalid.errors(include_url=False)
                    if each["type"] != "missing" and not _is_of_several(each)]
        if problems:
            raise _bad(problems, where) from None


def _is_of_several(problem: ErrorDetails) -> bool:
    """Whether it is of several keys, that do not fit together."""
    return problem["type"] == "value_error" and isinstance(problem["input"], dict)


def _bad(problems: list[ErrorDetails], where: str) -> BadInput:
    problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
    return BadInput(f"params.yaml: {_problem_line(problems, where)}")


def _problem_line(problems: list[ErrorDetails], where: str) -> str:
    first = problems[0]
    key = _key(first, where)
    if first["type"] == "missing":
        return f"{key} is missing: expected a value"
    if first["type"] == "extra_forbidden":
        missing = [_key(problem, where) for problem in problems if problem["type"] == "missing"]
        likely = f" ({missing[0]} is missing)" if missing else ""
        return f"{key} is {_shown(first['input'])}: expected no such key{likely}"
    message = first["msg"].removeprefix("Value error, ")
    if _is_of_several(first):
        return f"{key}: {message}"  # the check names them itself
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
    text = str(getattr(problem, "problem", None) or problem).splitlines()[0]
    return f"line {mark.line + 1}: {text}" if mark else text
