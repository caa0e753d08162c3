"""Reading params.yaml: numbers as in DVC, the study's changes, and one line for every mistake."""

from typing import Annotated

import pytest
from dvc.utils.serialize import load_yaml
from pydantic import Field, model_validator

from study.base import params
from variance_dynamics.base.errors import BadInput

STUDY = "study: default\nstudies:\n  default: {}\n  small: {a: {n: 3}}\n"


LAUGHS = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
"""Thirty lines whose aliases stand for 9^29 values."""


class Inner(params.Section):
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self):
        if self.low > self.high:
            raise ValueError(f"low {self.low}, high {self.high}: expected low below high")
        return self


class A(params.Section):
    n: Annotated[int, Field(gt=0)]
    lr: Annotated[float, Field(gt=0)]
    on: bool
    names: Annotated[list[str], Field(min_length=1)]
    inner: Inner


GOOD = {"n": 2, "lr": 0.1, "on": True, "names": ["x"], "inner": {"low": 0.0, "high": 1.0}}


def write(folder, text):
    path = folder / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("1e-3", 1e-3), ("1E5", 1e5), (".5", 0.5), ("010", 10), ("0x1F", 31), ("1_000", 1000)],
        *[("yes", "yes"), ("on", "on"), ("true", True), ("null", None)],
        *[("1:30", "1:30"), ("'0.1'", "0.1"), ("-.inf", float("-inf"))],
    ],
)
def test_scalars_are_what_dvc_tracks(tmp_path, text, value):
    path = write(tmp_path, f"a: {text}\n")
    assert params.load(path) == {"a": value}
    assert type(params.load(path)["a"]) is type(load_yaml(path)["a"])
    assert params.load(path) == load_yaml(path)


def test_the_study_is_laid_over_the_sections(tmp_path):
    text = STUDY + "a:\n  n: 1\n  inner: {low: 0.0, high: 1.0}\n"
    assert params.read(write(tmp_path, text)) == {"a": {"n": 1, "inner": {"low": 0.0, "high": 1.0}}}
    text = text.replace("study: default", "study: small")
    assert params.read(write(tmp_path, text))["a"] == {"n": 3, "inner": {"low": 0.0, "high": 1.0}}


def test_merging_replaces_lists_and_keeps_what_is_not_named():
    base = {"a": {"x": [1, 2], "y": 1}, "b": 2}
    over = {"a": {"x": [3]}, "c": {"d": 4}}
    assert params.merged(base, over) == {"a": {"x": [3], "y": 1}, "b": 2, "c": {"d": 4}}
    assert base == {"a": {"x": [1, 2], "y": 1}, "b": 2}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (STUDY.replace("study: default", "study: tiny"), ("study is 'tiny'", "default, small")),
        ("studies: {}\n", ("study is None",)),
        ("study: default\n", ("study is 'default'", "studies")),
        ("a: 1\na: 2\n", ("line 2", "duplicate key")),
        ("a: [1\n", ("line 2", "expected")),
        ("- a\n", ("list at top level", "mapping")),
        ("", ("NoneType at top level",)),
        (b"a: \xff\n", ("UTF-8",)),
        ("a: !!python/object:os.system x\n", ("line 1", "tag")),
        ("a: 2020-13-45\n", ("month", "valid YAML")),
        (f"a: {'9' * 5000}\n", ("4300 digits",)),
        (f"a: 0x{'f' * 5000}\n", ("a is beyond 64 bits",)),
        (f"a: {'[' * 3000}\n", ("recursion",)),
        ("a:\n  - 2020-01-02\n", ("a.0 is datetime.date(2020, 1, 2)", "expected a number, text")),
        ("a: !!set {x}\n", ("a is {'x'}",)),
        ("a:\n  1: x\n", ("a.key 1", "expected a name")),
        ("a: &a [*a]\n", ("more than 10000 values",)),
        (LAUGHS, ("more than 10000 values",)),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_line(tmp_path, text, parts):
    with pytest.raises(BadInput) as problem:
        params.read(write(tmp_path, text))
    assert "\n" not in str(problem.value)
    assert all(part in str(problem.value) for part in parts), problem.value


def test_no_file_at_all(tmp_path):
    with pytest.raises(BadInput, match="No such file"):
        params.read(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "a.n is 0: expected greater than 0"),
        ({"n": "2"}, "a.n is '2': expected a valid integer"),
        ({"n": True}, "a.n is True: expected a valid integer"),
        ({"n": 2.0}, "a.n is 2.0: expected a valid integer"),
        ({"lr": -1}, "a.lr is -1: expected greater than 0"),
        ({"lr": "1e-3"}, "a.lr is '1e-3': expected a valid number"),
        ({"lr": float("nan")}, "a.lr is nan: expected "),
        ({"lr": float("inf")}, "a.lr is inf: expected a finite number"),
        ({"on": "yes"}, "a.on is 'yes': expected a valid boolean"),
        ({"on": 1}, "a.on is 1: expected a valid boolean"),
        ({"names": []}, "a.names is []: expected at least 1 item"),
        ({"names": "x"}, "a.names is 'x': expected a valid list"),
        ({"names": ["x", 1]}, "a.names.1 is 1: expected a valid string"),
        ({"inner": 3}, "a.inner is 3: expected a mapping"),
        ({"inner": None}, "a.inner is None: expected a mapping"),
        ({"inner": {"low": 2.0, "high": 1.0}}, "a.inner: low 2.0, high 1.0: expected low below high"),
        ({"inner": {"low": 0.0, "hi": 1.0}}, "a.inner.hi is 1.0: expected no such key (a.inner.high is"),
        ({"extra": "x" * 99}, "a.extra is 'xxxxx"),
    ],
)
def test_a_value_that_is_wrong_is_refused_in_one_line(change, message):
    with pytest.raises(BadInput) as problem:
        params.section({"a": GOOD | change}, "a", A)
    assert str(problem.value).startswith(f"params.yaml: {message}")
    assert len(str(problem.value)) < 150


def test_missing_keys_and_sections_are_named():
    with pytest.raises(BadInput, match=r"a\.lr is missing: expected a value"):
        params.section({"a": {key: value for key, value in GOOD.items() if key != "lr"}}, "a", A)
    with pytest.raises(BadInput, match=r"section b is missing: expected n, lr, on"):
        params.section({"a": GOOD}, "b", A)


def test_sections_are_frozen_and_integers_are_numbers():
    typed = params.section({"a": GOOD | {"lr": 1}}, "a", A)
    assert typed.lr == 1.0 and isinstance(typed.lr, float)
    with pytest.raises(ValueError, match="frozen"):
        typed.n = 5
