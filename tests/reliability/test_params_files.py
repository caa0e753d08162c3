"""Hundreds of params files, broken in one way each: `validate` refuses each in one line."""

import contextlib
import copy
import io
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from imports import ROOT
from reliability.params_files import DEFAULT, WRONG, at, broken, valid
from study.base import params
from study.stages import validate

PROPERTY = {"deadline": None, "derandomize": True, "database": None,
            "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}
NUMBERS = {"NaN": ".nan", "Infinity": ".inf", "-Infinity": "-.inf"}


def as_yaml(tree):
    """JSON, which is also YAML; YAML has other words for nan and infinity."""
    return re.sub(r"(?<![\w\"])(-?Infinity|NaN)(?![\w\"])", lambda match: NUMBERS[match[0]], json.dumps(tree))


def validated(tree, write=True):
    """Exit status and stderr of the stage, in this process."""
    if write:
        Path("params.yaml").write_text(as_yaml(tree), encoding="utf-8")
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            validate.main()
    except SystemExit as ended:
        return ended.code, stderr.getvalue()
    return 0, stderr.getvalue()


def refused(case, read=True):
    tree, parts = case
    status, message = validated(tree, write=read)
    assert status == 2, (parts, message)
    assert message.startswith("error: ") and message.count("\n") == 1, message
    assert "expected" in message and len(message) < 500, message
    assert all(part in message for part in parts), (parts, message)
    assert not Path("data").exists(), "something was written"


def accepted(tree):
    assert validated(tree) == (0, "")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("section", sorted({name.partition(".")[0] for name in WRONG}))
def test_each_wrong_value_of_each_key_is_refused_by_name(section, monkeypatch):
    """Over 1500 trees in all; they are not written into a file, to save time."""
    for name in (name for name in WRONG if name.startswith(f"{section}.")):
        for value in WRONG[name]:
            tree = copy.deepcopy(DEFAULT)
            parent, last = at(tree, name)
            parent[last] = value
            monkeypatch.setattr(params, "load", lambda tree=tree: tree)
            refused((tree, [last, *([] if isinstance(value, list | dict) else [repr(value)])]), read=False)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("gpt2.lr", "'1e-3'", "gpt2.lr is '1e-3'"), ("gpt2.std", ".nan", "gpt2.std is nan"),
     ("plot", "!!python/object/apply:os.mkdir [ran]", "constructor for the tag"),
     ("gpt2.lr", "1e-3", None), ("gpt2.lr", "1E-3", None)],
)
def test_the_real_command_refuses_within_three_seconds(tmp_path, name, value, message):
    tree = copy.deepcopy(DEFAULT)
    parent, last = at(tree, name)
    parent[last] = "HERE"
    (tmp_path / "params.yaml").write_text(as_yaml(tree).replace('"HERE"', value))
    command = [sys.executable, "-m", "study.stages.validate"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / "data").exists() == (message is None)
    assert result.returncode == (2 if message else 0), result.stderr
    assert result.stderr.count("\n") == bool(message) and (message or "") in result.stderr


@settings(max_examples=60, **PROPERTY)
@given(case=broken())
def test_some_broken_files_are_refused(case):
    refused(case)


@settings(max_examples=20, **PROPERTY)
@given(tree=valid())
def test_some_valid_files_are_accepted(tree):
    accepted(tree)


@pytest.mark.reliability
@settings(max_examples=700, **PROPERTY)
@given(case=broken())
def test_700_broken_files_are_refused(case):
    refused(case)


@pytest.mark.reliability
@settings(max_examples=200, **PROPERTY)
@given(tree=valid())
def test_200_valid_files_are_accepted(tree):
    accepted(tree)
