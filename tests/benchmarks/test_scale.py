"""docs/scale.md shows what benchmarks/scale.py computes, and what it counts is what a dump does."""

import os
import subprocess
import sys

import pytest

from tiny_gpt2 import ROOT

CODE = "import scale; print(scale.PAGE.read_text() == scale.written(scale.PAGE)); print(*scale.counted())"


@pytest.mark.slow
def test_the_page_shows_what_is_computed():
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "benchmarks")])
    ended = subprocess.run([sys.executable, "-c", CODE], env=os.environ | {"PYTHONPATH": paths}, check=True,
                           capture_output=True, text=True)
    same, traffic, sent = ended.stdout.split()
    assert same == "True"
    # in fp32 at least the weights twice, gradients and v; of 11 statistics at least a sum each, at most three
    assert float(traffic) > 16 and 11 <= int(sent) <= 33
