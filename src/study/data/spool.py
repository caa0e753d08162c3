"""The corpus's text in one file on disk: read as often as needed, in bounded memory."""

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
"""Bytes that are tokenised at once."""
LAST_BREAK = re.compile(r".*\S(?=[ \t\r\n])", re.DOTALL)
"""Where a piece ends: byte-level BPE always starts a new word at white space that follows something else."""


@dataclass(frozen=True)
class Spool:
    """The text, where each document ends in it (int64 [documents], in bytes), and a digest of all."""

    path: Path
    ends: NDArray[np.int64]
    sha256: str

    @property
    def bytes(self) -> int:
        return int(self.ends[-1])


def write(chunks: Chunks, folder: Path) -> Spool:
    """Write the documents that are not blank to `folder`; BadInput when there is none.

    The digest is the SHA-256 of the documents' SHA-256s.
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
    """SHA-256 of each document, once it is in the file; a blank one is taken out again."""
    start, blank, document = 0, True, hashlib.sha256()
    for chunk in chunks:
        if chunk is not None:
            text.write(chunk)
            document.update(chunk)
            blank = blank and chunk.isspace()
            continue
        if blank:
            text.seek(start)
            text.truncate()
        else:
            yield document.digest()
        start, blank, document = text.tell(), True, hashlib.sha256()


@dataclass(frozen=True)
class Split:
    """The documents of one split, as (start, end) in the spool's file."""

    spool: Spool
    name: str
    fraction: float
    seed: int

    def spans(self) -> Iterator[tuple[int, int]]:
        """One validation document is drawn in each of equal runs of documents; the others are for training.

        A corpus of one document is cut in two, the end of it for validation.
        """
        if len(self.spool.ends) == 1:
            cut = _cut(self.spool, self.fraction)
            yield (cut, self.spool.bytes) if self.name == "val" else (0, cut)
            return
        random = numpy_generator(self.seed, "corpus", "split")
        held_out = _one_of_each_run(len(self.spool.ends), self.fraction, random)
        start, next_held_out = 0, next(held_out)
        for number, end in enumerate(self.spool.ends):
            is_val = number == next_held_out
            if is_val:
                next_held_out = next(held_out, -1)
            if is_val == (self.name == "val"):
                yield start, int(end)
            start = int(end)

    def size(self) -> tuple[int, int]:
        """Documents and bytes."""
        sizes = [0, 0]
        for start, end in self.spans():
            sizes[0] += 1
            sizes[1] += end - start
        return sizes[0], sizes[1]

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """The text in pieces of at most about `PIECE` bytes, and whether a piece ends its document."""
        with self.spool.path.open("rb") as file:
            for start, end in self.spans():
                file.seek(start)
                yield from _pieces(file, end - start)


def _one_of_each_run(documents: int, fraction: float, random: np.random.Generator) -> Iterator[int]:
    """Increasing document numbers, about `fraction` of all, at least one and not all."""
    runs = min(max(round(documents * fraction), 1), documents - 1)
    for run in range(runs):
        yield int(random.integers(run * documents // runs, (run + 1) * documents // runs))


def _cut(spool: Spool, fraction: float) -> int:
    """The byte where the only document is cut: after the last white space before its last `fraction`."""
    target = int(spool.bytes * (1 - fraction))
    start = max(target - PIECE, 0)
    with spool.path.open("rb") as file:
        file.seek(start)
        window = file.read(target - start + 1)
    after = max(window.rfind(b"\n", 0, -1), window.rfind(b" ", 0, -1)) + 1
    if not after:
        after = len(window) - 1
        while window[after] & 0xC0 == 0x80:  # a character's later bytes
            after -= 1
    return start + after


def _pieces(file: BinaryIO, size: int) -> Iterator[tuple[str, bool]]:
    """The next `size` bytes as text, cut so that the pieces' tokens are the tokens of the whole.

    Where `PIECE` bytes on end hold no white space after a word, the cut may part a token.
    """
    decoder, rest = codecs.getincrementaldecoder("utf-8")(), ""
    while size:
        read = file.read(min(size, PIECE))
        size -= len(read)
        text = rest + decoder.decode(read, final=not size)
        last = LAST_BREAK.match(text) if size else None
        cut = last.end() if last else len(text)
        yield text[:cut], not size
        rest = text[cut:]
