"""The examples in docstrings give what they show."""

import doctest
import importlib

import pytest

from imports import SOURCE

WITH_EXAMPLES = sorted(".".join(file.relative_to(SOURCE).with_suffix("").parts)
                       for file in SOURCE.rglob("*.py") if ">>> " in file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_run(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted and not result.failed
