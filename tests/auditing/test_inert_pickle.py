"""Pickles read as data: the values are those that pickle gives, and nothing is called, whatever they say."""

import contextlib
import os
import pickle
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variance_dynamics.auditing.inert_pickle import Inert, read_pickle

PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2**70, 2**70), st.floats(allow_nan=False), st.text(),
              st.binary()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner))


@given(PLAIN, st.integers(3, 5))
def test_plain_values_are_what_pickle_gives(value, protocol):
    """From protocol 3 on; before it, bytes are a call."""
    assert read_pickle(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_objects_say_what_they_were_made_of_and_are_not_made(tmp_path, protocol):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    read = read_pickle(pickle.dumps({"a": Trap(), "b": OrderedDict(c=1)}, protocol))
    assert isinstance(read["a"], Inert) and read["a"].path.endswith("mkdir")
    assert read["a"].args == (str(tmp_path / "ran"),) and not (tmp_path / "ran").exists()
    assert read["b"].path == "collections.OrderedDict" and (read["b"].items or read["b"].args)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content):
    with contextlib.suppress(ValueError, IndexError, TypeError, AttributeError, KeyError):
        read_pickle(b"\x80\x04" + content + b".")


@pytest.mark.parametrize("content", [
    b"]r\xff\xff\xff\xff.", b"\x96" + (2**40).to_bytes(8, "little") + b"x.",
    b"\x8d" + (2**50).to_bytes(8, "little") + b"x.", b"}(" + b")" + b"\x85" * 100_000 + b"K\x01u.",
    b"}X\x01\x00\x00\x00a" * 100_000 + b"}" + b"s" * 100_000 + b"."])
def test_what_would_take_memory_or_the_stack_of_a_real_unpickler_does_not(content):
    """A memo of 2**32 places, texts of a terabyte, a tuple whose hash recurses, mappings without end."""
    with contextlib.suppress(ValueError):
        read_pickle(b"\x80\x05" + content)
