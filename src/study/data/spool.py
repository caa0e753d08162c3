"""The corpus's text in one file on disk, which is read several times in bounded memory."""

import codecs
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from study.data.texts import Chunks
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.seeding import numpy_generator

PIECE = 1 << 14
"""Bytes of a piece of text, which is tokenised as one."""
BLOCK = 1 << 20
"""Documents whose sizes are in memory at once."""
LAST_BREAK = re.compile(r".*\S(?=[ \t\r\n])", re.DOTALL)
"""A piece ends before white space that follows other text: byte-level BPE always starts a word there."""


@dataclass(frozen=True)
class Spool:
    """A file of text, the byte at which each document ends (int64 [documents]), and a digest of all."""

    path: Path
    ends: NDArray[np.int64]
    sha256: str

    @property
    def bytes(self) -> int:
        return int(self.ends[-1])

    def longer_than(self, size: float) -> int:
        """The number of documents of more than `size` bytes."""
        starts = range(0, len(self.ends), BLOCK)
        blocks = (np.diff(self.ends[max(start - 1, 0) : start + BLOCK], prepend=0 if not start else [])
                  for start in starts)
        return sum(int(np.count_nonzero(block > size)) for block in blocks)


def write(chunks: Chunks, folder: Path) -> Spool:
    """Write the documents that are not blank to `folder`. Raises BadInput when there is none.

    The digest is the SHA-256 of the SHA-256s of the documents.
    """
    path, index, digest = folder / "text", folder / "ends", hashlib.sha256()
    with path.open("wb") as text, index.open("wb") as ends:
        for sha in _written(chunks, text):
            digest.update(sha)
            ends.write(text.tell().to_bytes(8, "little"))
    if not index.stat().st_size:
        raise BadInput("corpus has no text in it: expected at least one document that is not blank")
    return Spool(path, np.memmap(index, dtype="<i8", mode="r"), digest.hexdigest())


def _written(chunks: Chunks, text: BinaryIO) -> Iterator[bytes]:
    """Write each document, then yield its SHA-256. A blank document is removed from the file again."""
    start, blank, document = 0, True, hashlib.sha256()
    for chunk in chunks:
        if chunk is not None:
            text.write(chunk)
            document.update(chunk)
            blank = blank and not chunk.strip()
            continue
        if blank:
            text.seek(start)
            text.truncate()
        else:
            yield document.digest()
        start, blank, document = text.tell(), True, hashlib.sha256()


@dataclass(frozen=True)
class Split:
    """The part `name` of the documents, train or val. About `fraction` of the text is in val."""

    spool: Spool
    name: str
    fraction: float
    seed: int

    def spans(self) -> Iterator[tuple[int, int]]:
        """Start and end of each document in the spool's file, in bytes.

        Documents are cut into runs of about equal number, and one document of each run is drawn for val,
        whole. But a document of more than twice the share of train or val is cut: its end is for val. So is
        an only document.
        """
        longest = 2 * min(self.fraction, 1 - self.fraction) * self.spool.bytes
        whole = len(self.spool.ends) - self.spool.longer_than(longest)
        if len(self.spool.ends) == 1:
            longest, whole = 0, 0
        random = numpy_generator(self.seed, "corpus", "split")
        at_least = int(whole == len(self.spool.ends))  # where others are cut, val has some text without it
        held_out = _one_of_each_run(whole, self.fraction, at_least, random)
        start, number, next_held_out = 0, 0, next(held_out, -1)
        for end in map(int, self.spool.ends):
            if end - start > longest:
                cut = _cut(self.spool, start, end, self.fraction)
                part = (cut, end) if self.name == "val" else (start, cut)
                if part[0] < part[1]:
                    yield part
                start = end
                continue
            is_val = number == next_held_out
            if is_val:
                next_held_out = next(held_out, -1)
            if is_val == (self.name == "val"):
                yield start, end
            start, number = end, number + 1

    def size(self) -> tuple[int, int]:
        """The number of documents and of bytes."""
        sizes = [0, 0]
        for start, end in self.spans():
            sizes[0] += 1
            sizes[1] += end - start
        return sizes[0], sizes[1]

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """The text in pieces of about `PIECE` bytes, each with whether it ends its document.

        The tokens of the pieces are the tokens of the whole document, unless `PIECE` bytes in a row have no
        white space that follows other text: then a cut may divide a token.
        """
        with self.spool.path.open("rb") as file:
            for start, end in self.spans():
                file.seek(start)
                yield from _pieces(file, end - start)


def _one_of_each_run(
    documents: int, fraction: float, at_least: int, random: np.random.Generator
) -> Iterator[int]:
    """Increasing numbers of documents: about `fraction` of them, `at_least` so many and not all."""
    runs = min(max(round(documents * fraction), at_least), documents - 1)
    for run in range(runs):
        yield int(random.integers(run * documents // runs, (run + 1) * documents // runs))


def _cut(spool: Spool, start: int, end: int, fraction: float) -> int:
    """The byte at which a document is cut: after the last white space before its last `fraction`."""
    target = start + int((end - start) * (1 - fraction))
    first = max(target - PIECE, start)
    with spool.path.open("rb") as file:
        file.seek(first)
        window = file.read(target - first + 1)
    after = max(window.rfind(b"\n", 0, -1), window.rfind(b" ", 0, -1)) + 1
    if not after:
        after = len(window) - 1
        while window[after] & 0xC0 == 0x80:  # not the first byte of a character
            after -= 1
    return first + after


def _pieces(file: BinaryIO, size: int) -> Iterator[tuple[str, bool]]:
    """The next `size` bytes of a file as pieces of text, each with whether it is the last."""
    decoder, rest = codecs.getincrementaldecoder("utf-8")(), ""
    while size:
        read = file.read(min(size, PIECE))
        size -= len(read)
        text = rest + decoder.decode(read, final=not size)
        last = LAST_BREAK.match(text) if size else None
        cut = last.end() if last else len(text)
        yield text[:cut], not size
        rest = text[cut:]
