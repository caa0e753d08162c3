"""Documents in plain text: the text between separators, byte for byte."""

import codecs
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from variance_dynamics.base.errors import BadInput

SCAN = 1 << 16
"""Bytes that are read at once."""
BLANKS = 80
"""The most blanks before and after a separator that count as part of its line."""
BOM = codecs.BOM_UTF8
LINE_END = re.compile(rb"[ \t]{0,%d}(?:\r{0,2}\n|\r|\Z)" % BLANKS)
JSON_OBJECT = re.compile(rb'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:')


def documents(path: Path, file: BinaryIO, separator: bytes, anywhere: bool) -> Iterator[bytes | None]:
    """The bytes of each document in pieces, and None after each.

    A separator that is alone in its line takes that line with it: blanks on both sides and the line's end,
    \\n, \\r\\n or \\r. Elsewhere it separates only if `anywhere`, and takes nothing but itself and the end of
    a line that ends with it. A byte order mark at the start of a document is no text.
    Raises BadInput for what is not UTF-8, has a byte 0 (UTF-16 has), or is JSON Lines.
    """
    margin = len(separator) + 2 * BLANKS + 4
    held, new, line = b"", True, True  # nothing of the document is given yet; it begins with a line
    for block in chain(_blocks(path, file), [None]):
        held += block or b""
        last = block is None
        stop = len(held) if last else len(held) - margin  # what begins later may go on in the next block
        if stop < 0:
            continue
        begin, at = 0, held.find(separator)
        while at != -1 and (last or at < stop):
            edges = _edges(held, begin, new and line, at, at + len(separator))
            if edges.alone or anywhere:
                yield from _piece(held[begin : edges.start], new)
                yield None
                begin, new, line = edges.end, True, edges.ends_line
            at = held.find(separator, max(begin, at + 1))
        end = len(held) if last else stop - BLANKS - 1
        if last or end >= begin + len(BOM):
            yield from (pieces := list(_piece(held[begin:end], new)))
            begin, new = end, new and not pieces
        held = held[begin:]
    if not new:
        yield None


def _piece(piece: bytes, new: bool) -> Iterator[bytes]:
    """The piece unless it is empty, without a byte order mark if it is a document's first."""
    piece = piece.removeprefix(BOM) if new else piece
    if piece:
        yield piece


class Edges(NamedTuple):
    """Where the text before a separator ends and that after it begins, whether a line ends with it, and
    whether it has that line for itself."""

    start: int
    end: int
    ends_line: bool
    alone: bool


def _edges(held: bytes, begin: int, new: bool, start: int, end: int) -> Edges:
    """The edges of the separator `held[start:end]`; `new`: a line and a document begin at `held[begin]`."""
    before = held[max(begin, start - BLANKS - 1) : start]
    whole = new and len(before) == start - begin  # `before` is all of the document
    blank = before.removeprefix(BOM if whole else b"").rstrip(b" \t")
    opens = blank.endswith((b"\n", b"\r")) or (whole and not blank)
    after = LINE_END.match(held, end)
    if opens and after:
        start -= len(before) - len(before.rstrip(b" \t"))
    return Edges(start, after.end() if after else end, bool(after), bool(opens and after))


def _blocks(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """The content in blocks. Raises BadInput where it is not text."""
    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    _check_prose(path, start := file.read(SCAN))
    block = start
    while block:
        try:
            decoder.decode(block)
        except UnicodeDecodeError as problem:
            line += problem.object.count(b"\n", 0, problem.start)
            byte = problem.object[problem.start]
            raise BadInput(f"{path}: line {line} has byte {byte:#04x}: expected UTF-8 text") from None
        if b"\0" in block:
            line += block.count(b"\n", 0, block.index(b"\0"))
            raise BadInput(f"{path}: line {line} has a byte 0: expected UTF-8 text (UTF-16 has such bytes)")
        line += block.count(b"\n")
        yield block
        block = file.read(SCAN)
    if decoder.getstate()[0]:
        raise BadInput(f"{path}: line {line} ends within a character: expected UTF-8 text")


def _check_prose(path: Path, start: bytes) -> None:
    """Refuse JSON Lines: its first two lines (or its only one) begin like an object with a key."""
    lines = [line for line in start.removeprefix(BOM).splitlines() if line.strip()][:2]
    if lines and all(map(JSON_OBJECT.match, lines)):
        packing = "".join(path.suffixes[-1:]) if path.suffix != ".txt" else ""
        right = f"{path.name.removesuffix(f'.txt{packing}')}.jsonl{packing}"
        raise BadInput(f"{path}: line 1 is a JSON object: expected text, or the name {right} for JSON Lines")
