"""Splits by document, and pieces of text that have the tokens of the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.data import spool, tokenizer
from study.data.spool import Split
from variance_dynamics.base.errors import BadInput


def spooled(folder, documents):
    chunks = [chunk for document in documents for chunk in (*document, None)]
    return spool.write(iter(chunks), folder)


def texts_of(split):
    texts, current = [], ""
    for piece, ends in split.pieces():
        current += piece
        if ends:
            texts.append(current)
            current = ""
    assert current == ""
    return texts


def numbered(count):
    return [[f"document {number}\n".encode()] for number in range(count)]


@pytest.mark.parametrize(
    ("count", "fraction"),
    [(count, fraction) for count in (2, 3, 19, 20, 21, 100, 1000)
     for fraction in (0.001, 0.05, 0.3, 0.5, 0.7, 0.999) if 2 * count * min(fraction, 1 - fraction) > 1.1],
)
def test_every_document_is_in_one_split_whole_and_in_order(tmp_path, count, fraction):
    text = spooled(tmp_path, numbered(count))
    train, val = (texts_of(Split(text, name, fraction, 0)) for name in ("train", "val"))
    number = {f"document {number}\n": number for number in range(count)}
    for part in (train, val):
        assert [number[each] for each in part] == sorted(number[each] for each in part)
    assert sorted(train + val) == sorted(number)
    assert len(val) == min(max(round(count * fraction), 1), count - 1)
    assert Split(text, "val", fraction, 0).size() == (len(val), sum(map(len, val)))


BOOKS = [
    ([470, 530], 0.05),  # whole, one of two was 47% or 53%
    ([470, 530], 0.95),
    ([900, *[1] * 100], 0.05),
    ([700, 100, 100, 100], 0.05),
    ([100] * 9, 0.01),
    ([1000, 1, 1], 0.2),
    ([60, *[10] * 94], 0.05),
    ([3000], 0.05),
]


@pytest.mark.parametrize(("lines", "fraction"), BOOKS)
def test_long_documents_are_cut_so_that_the_share_is_about_what_was_asked(tmp_path, lines, fraction):
    whole = [f"A line of book {number:03}, in thirty bytes.\n" * count for number, count in enumerate(lines)]
    text = spooled(tmp_path, [[document.encode()] for document in whole])
    train, val = (texts_of(Split(text, name, fraction, 0)) for name in ("train", "val"))
    share = sum(map(len, val)) / text.bytes
    assert share == pytest.approx(fraction, rel=0.35)
    longest = 2 * min(fraction, 1 - fraction) * text.bytes
    for document in whole:
        held_out = [each for each in val if document.endswith(each)]
        if len(document) > longest:
            assert any(start + end == document for start in train for end in held_out)
            assert all(abs(len(end) - fraction * len(document)) <= 40 for end in held_out)
        else:
            assert (document in train) != (document in val)


def test_the_number_of_long_documents_is_counted_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "BLOCK", 3)
    sizes = [5, 1, 9, 9, 2, 7, 7, 1, 8, 3]
    text = spooled(tmp_path, [[b"x" * size] for size in sizes])
    for limit in range(10):
        assert text.longer_than(limit) == sum(size > limit for size in sizes)


def test_the_seed_chooses_and_all_documents_are_as_likely(tmp_path):
    text = spooled(tmp_path, numbered(10))
    drawn = [texts_of(Split(text, "val", 0.2, seed)) for seed in range(400)]
    assert drawn == [texts_of(Split(text, "val", 0.2, seed)) for seed in range(400)]
    counts = np.array([sum(f"document {number}\n" in val for val in drawn) for number in range(10)])
    assert (np.abs(counts - 80) < 4 * np.sqrt(400 * 0.2 * 0.8)).all()


ONE = ["word " * 100, "line\n" * 100, "漢" * 200, "é" * 101, "ab", "a b" + "c" * 300]


@pytest.mark.parametrize("text", ONE)
@pytest.mark.parametrize("fraction", [0.05, 0.5])
def test_one_document_is_cut_by_position(tmp_path, text, fraction):
    spool_of_one = spooled(tmp_path, [[text.encode()]])
    train, val = (texts_of(Split(spool_of_one, name, fraction, 0)) for name in ("train", "val"))
    assert "".join(train + val) == text
    assert len(train) == len(val) == 1
    if len(text) == 500:
        assert train[0][-1].isspace()
        assert abs(len(val[0]) - fraction * len(text)) <= 5


def test_blank_documents_are_left_out_and_the_digest_knows_the_borders(tmp_path):
    some = spooled(tmp_path, [[b"\n", b" \t"], [b"\n", b"a b\n"], [], [b""], [b"c"], [b"\r\n"]])
    assert list(some.ends) == [5, 6]
    assert some.path.read_bytes() == b"\na b\nc"
    (tmp_path / "same").mkdir()
    assert spooled(tmp_path / "same", [[b"\na ", b"b\n"], [b"c"]]).sha256 == some.sha256
    (tmp_path / "other").mkdir()
    assert spooled(tmp_path / "other", [[b"\na "], [b"b\nc"]]).sha256 != some.sha256


@pytest.mark.parametrize("documents", [[], [[]], [[b"\n"], [b"  "]]])
def test_no_text_at_all(tmp_path, documents):
    with pytest.raises(BadInput, match="corpus has no text in it"):
        spooled(tmp_path, documents)


SAMPLE = "the cat's  hats, don't\n\n they're   12 3!?\r\n é è漢 \u00a0\u3000 x"
BPE = tokenizer.train(iter([[SAMPLE] * 3]), 320)
TEXT = st.text(st.sampled_from("ab 1'st,.!\n\t\r\u00a0\u3000\x85\u2028\x1cé漢😀")) | st.text(max_size=300)


@settings(max_examples=300, deadline=None)
@given(TEXT.map(lambda text: text.encode("utf-8", "ignore").decode()))
def test_pieces_change_no_token(tmp_path_factory, text):
    """With a cut every few bytes, the tokens of the pieces are the tokens of the whole text."""
    if not text.strip(" \t\r\n\f\v"):
        return
    two = spooled(tmp_path_factory.mktemp("pieces"), [[text.encode()]] * 2)  # one of them is in each split
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "PIECE", 4)
        pieces = list(Split(two, "train", 0.5, 0).pieces())
    assert "".join(piece for piece, _ in pieces) == text
    assert [ends for _, ends in pieces] == [False] * (len(pieces) - 1) + [True]
    if spool.LAST_BREAK.match(text):
        cuts = np.cumsum([len(piece) for piece, _ in pieces])[:-1]
        soft = [cut for cut in cuts if text[cut] in " \t\r\n" and not text[cut - 1].isspace()]
        parts = [text[start:end] for start, end in zip([0, *soft], [*soft, len(text)], strict=True)]
        assert [id for part in parts for id in BPE.encode(part).ids] == BPE.encode(text).ids
