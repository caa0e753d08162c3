"""Formulas: as Python computes them, and one line for whatever is none."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variance_dynamics.base.errors import BadInput
from variance_dynamics.recipes.formula import parse

VALUES = {"fan_in": 64.0, "depth": 3.0, "std": 0.02}


@pytest.mark.parametrize("text", [
    ".02/sqrt(2*depth)", "1", "2 ** 3 ** 2", "-2 ** 2", "2 ** -1", "1 - 2 - 3", "12 / 2 / 3", "2 * 3 + 4 * 5",
    "min(1, sqrt(fan_in / 3)) / sqrt(fan_in)", "max(1, 2, depth)", "1e-6", "3.E2", "+(((1)))", "fan_in**-.5",
    "std * -(1 + 2) * -1", "- - 1"])
def test_a_formula_is_what_python_computes(text):
    expected = eval(text, {"sqrt": math.sqrt, "min": min, "max": max}, dict(VALUES))
    assert parse(text).value(VALUES) == expected


NUMBERS = st.floats(0.5, 3).map(lambda value: f"{value:.3f}") | st.sampled_from(["fan_in", "depth"])
FORMULAS = st.recursive(NUMBERS, lambda inner: st.one_of(
    st.tuples(inner, st.sampled_from("+-*/"), inner).map(" ".join), inner.map("({})".format),
    inner.map("sqrt(max(1, {}))".format), inner.map("-{}".format)), max_leaves=12)


@given(FORMULAS)
@settings(max_examples=200, deadline=None)
def test_any_formula_is_what_python_computes(text):
    try:
        expected = eval(text, {"sqrt": math.sqrt, "max": max}, dict(VALUES))
    except ZeroDivisionError:
        expected = math.inf
    if len(text) > 300 or not math.isfinite(expected):
        with pytest.raises(BadInput):
            parse(text).value(VALUES)
    else:
        assert parse(text).value(VALUES) == expected


@pytest.mark.parametrize(("text", "message"), [
    ("", "its end"), ("1 +", "its end"), ("(1", r"expected '\)'"), ("1)", r"'\)' at this place"),
    ("1 2", "'2' at"),
    ("__import__('os')", "function '__import__': expected sqrt, min, max"), ("a.b", r"'\.' at this place"),
    ("x[0]", r"'\[' at this place"), ("lambda: 1", "':' at"),
    ("sqrt", "sqrt is not known here: expected one of depth"),
    ("sqrt(1, 2)", "sqrt of 2 numbers: expected 1"), ("min(1)", "min of 1 numbers: expected 2 or more"),
    ("fanin", "fanin is not known here"), ("1 / 0", "no finite number"), ("1 / (depth - 3)", "at depth = 3"),
    ("9 ** 9 ** 9 ** 9", "no finite number"), ("(-1) ** .5", "no finite number"),
    ("sqrt(-1)", "no finite number"),
    ("1" * 301, "formula of 301 characters"), ("(" * 40 + "1" + ")" * 40, "at most 30 inside"),
    ("-" * 100 + "1", "at most 30 inside"), ("1 ** " * 50 + "1", "at most 30 inside"),
    ("1e999", "no finite number"),
    ("٣", "at this place")])
def test_what_is_no_formula_gets_one_line(text, message):
    with pytest.raises(BadInput, match=message) as error:
        parse(text).value(VALUES)
    assert "\n" not in str(error.value)


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_formula_or_bad_input(text):
    try:
        parse(text).value(VALUES)
    except BadInput as problem:
        assert "\n" not in str(problem) or "\n" in text
