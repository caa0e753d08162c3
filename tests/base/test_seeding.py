"""Named streams: each depends on its seed and its name, on nothing else, and on no other stream."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from imports import ROOT
from variance_dynamics.base.seeding import entropy, numpy_generator, torch_seed

NAMES = st.lists(st.text("abc", min_size=1) | st.integers(0, 99), min_size=1, max_size=3)
SEEDS = st.integers(0, 2**63 - 1)


def test_the_first_words_of_a_stream_are_what_they_always_were():
    """SHA-256 of "0/batches/digits", by `printf 0/batches/digits | sha256sum`."""
    digest = bytes.fromhex("b95851ffea35b730541bd66a25547244ecf600d42400ba192004c0e8a3089327")
    words = [int.from_bytes(digest[i : i + 8], "little") for i in (0, 8, 16, 24)]
    assert entropy(0, "batches", "digits") == words


@given(SEEDS, SEEDS, NAMES, NAMES)
def test_streams_are_the_same_only_where_seed_and_name_are(seed, other, name, another):
    same = (seed, *map(str, name)) == (other, *map(str, another))
    assert (entropy(seed, *name) == entropy(other, *another)) == same
    assert (torch_seed(seed, *name) == torch_seed(other, *another)) == same
    assert 0 <= torch_seed(seed, *name) < 2**63


def test_drawing_from_one_stream_moves_no_other():
    expected = numpy_generator(0, "init", "w").standard_normal(5)
    between = numpy_generator(0, "batches", "w")
    stream = numpy_generator(0, "init", "w")
    drawn = []
    for _ in range(5):
        between.standard_normal(7)
        drawn.append(stream.standard_normal())
    np.testing.assert_array_equal(drawn, expected)


def test_streams_do_not_depend_on_the_process():
    """Python salts its own hash in every process."""
    code = "from variance_dynamics.base.seeding import torch_seed; print(torch_seed(3, 'a', 1))"
    printed = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           env={"PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": salt}).stdout
            for salt in ("1", "2")]
    assert printed[0] == printed[1] == f"{torch_seed(3, 'a', 1)}\n"
