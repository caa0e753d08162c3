"""Documents in plain text: every form of separator that people have, against a reading of the whole text."""

import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.base import params
from study.data import plain
from study.data.params import CorpusParams
from variance_dynamics.base.errors import BadInput

S = "<|endoftext|>"
STORIES = [f"Story {number}.\n It has two lines." for number in range(20)]
FORMS = {
    "TinyStories": (f"\n{S}\n", "\n"),  # what is put between stories, and what of it is text
    "joined": (S, ""),
    "glued before the end of a line": (f"{S}\n", ""),
    "inside a line": (f" {S} ", "both"),
    "trailing blanks": (f"\n{S}  \t\n", "\n"),
    "leading blanks": (f"\n  {S}\n", "\n"),
    "Windows": (f"\r\n{S}\r\n", "\r\n"),
    "CR only": (f"\r{S}\r", "\r"),
}


def documents(text, separator=S, anywhere=True):
    collected, current = [], b""
    for chunk in plain.documents(Path("a.txt"), io.BytesIO(text.encode()), separator.encode(), anywhere):
        assert chunk != b"", "an empty piece would be a document that is not blank"
        if chunk is None:
            collected.append(current.decode())
            current = b""
        else:
            current += chunk
    assert current == b""
    return collected


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_that_people_have(form):
    between, kept = FORMS[form]
    if kept == "both":
        first, *middle, last = STORIES
        expected = [f"{first} ", *(f" {story} " for story in middle), f" {last}"]
    else:
        expected = [*(story + kept for story in STORIES[:-1]), STORIES[-1]]
    assert documents(between.join(STORIES)) == expected
    assert documents(between.join(STORIES) + f"\n{S}\n") == [*expected[:-1], expected[-1] + "\n"]


@pytest.mark.parametrize("form", FORMS)
def test_lines_alone_where_params_say_so(form):
    between, kept = FORMS[form]
    text = between.join(STORIES)
    alone = "both" != kept != ""
    expected = [*(story + kept for story in STORIES[:-1]), STORIES[-1]] if alone else [text]
    assert documents(text, anywhere=False) == expected


def whole(text, separator, anywhere):
    """The documents by regular expressions over the whole of what is left, one document after the other."""
    blanks, end = f"[ \\t]{{0,{plain.BLANKS}}}", r"(?:\r{0,2}\n|\r|\Z)"
    line = rf"(?:\A|(?<=[\r\n])){blanks}{re.escape(separator)}{blanks}(?P<line>{end})"
    glued = rf"{re.escape(separator)}(?P<glued>{blanks}{end})?"
    either = re.compile(f"{line}|{glued}" if anywhere else f"{line}|(?P<glued>(?!))")
    collected, before = [], ""  # what stands before a document in its line
    while text:
        text = text.removeprefix("\ufeff")
        found = either.search(before + text)
        if not found:
            return [*collected, text] if text else collected
        collected.append((before + text)[len(before) : found.start()])
        ends_line = found["line"] is not None or found["glued"] is not None
        text, before = (before + text)[found.end() :], "" if ends_line else "x"
    return collected


PIECE = st.sampled_from(["--", "-", " ", "\t", "\n", "\r", "\r\n", "a", "é", " " * 90, "\ufeff"])


@given(st.lists(PIECE, max_size=40).map("".join), st.booleans(), st.integers(1, 400))
def test_any_text_in_blocks_of_any_size(text, anywhere, scan):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "SCAN", scan)
        assert documents(text, "--", anywhere) == whole(text, "--", anywhere)


@pytest.mark.parametrize("place", ["start", "later"])
def test_a_separator_that_lies_across_blocks(monkeypatch, place):
    monkeypatch.setattr(plain, "SCAN", 300)
    for length in range(560, 640):
        start = "x" * length + ("\n" if place == "later" else "")
        text = f"{start}{S} \nnext{S}{S}last"
        assert documents(text) == [start, "next", "", "last"]


def test_a_separator_of_several_lines(tree):
    assert documents("one\n\n\ntwo\n\nthree", "\n\n\n") == ["one", "two\n\nthree"]
    section = tree["corpus"] | {"document_separator": "\n---\n"}
    params.typed(section, "corpus", CorpusParams)
    with pytest.raises(BadInput, match="separator_place line: expected a separator within one line, or"):
        params.typed(section | {"separator_place": "line"}, "corpus", CorpusParams)


@pytest.mark.parametrize("text", ['{"a": 1}\nThis is about JSON.', '{\n  "a": 1\n}\n', "{a: b}", '"text"'])
def test_text_that_only_looks_like_json(text):
    assert documents(text) == [text]
