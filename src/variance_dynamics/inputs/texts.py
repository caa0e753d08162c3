"""Where the corpus's text comes from: docstrings, files or the hub, as chunks of UTF-8."""

import codecs
import glob
import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from variance_dynamics.errors import BadInput
from variance_dynamics.inputs import docstrings, hub
from variance_dynamics.inputs.corpus_params import CorpusParams

Chunks = Iterator[bytes | None]
"""The bytes of one document after another, in pieces that fit in memory; None ends a document."""
LONGEST_LINE = 1 << 16
"""Longer lines are read in several chunks."""


def from_docs(params: CorpusParams) -> Chunks:
    """The prose of each module of the packages as a document."""
    return _documents(docstrings.documents(params.packages))


def from_hub(params: CorpusParams) -> Chunks:
    """Each row of a text data set on the hub as a document, streamed."""
    source = params.hub
    rows = hub.load("corpus.hub", source.path, name=source.name, split=source.split, revision=source.revision,
                    streaming=True)
    return _documents(hub.column(f"corpus.hub: {source.path}", rows, params.text_column))


def from_files(params: CorpusParams) -> Chunks:
    """The documents of each file: a row of .jsonl and .parquet, or what lies between separators in .txt."""
    for path in paths(params.files):
        yield from READERS[_suffix(path)](path, params)


SOURCES: dict[str, Callable[[CorpusParams], Chunks]] = {"docs": from_docs, "files": from_files, "hub": from_hub}


def paths(patterns: list[str]) -> list[Path]:
    """The files that the globs name, each once, sorted; BadInput where a glob names none or a wrong kind."""
    found: set[Path] = set()
    for pattern in patterns:
        matches = [Path(match) for match in glob.glob(pattern, recursive=True) if Path(match).is_file()]
        if not matches:
            raise BadInput(f"corpus.files has {pattern!r}, which matches no file: expected {', '.join(READERS)}")
        found.update(matches)
    for path in sorted(found):
        if _suffix(path) not in READERS:
            raise BadInput(f"corpus.files matches {path}: expected {', '.join(READERS)}")
    return sorted(found)


def _suffix(path: Path) -> str:
    return next((suffix for suffix in READERS if path.name.endswith(suffix)), path.suffix)


def _rows(path: Path, params: CorpusParams) -> Chunks:
    kind = {".jsonl": "json", ".parquet": "parquet"}[_suffix(path)]
    options = {"columns": [params.text_column], "batch_size": hub.BATCH} if kind == "parquet" else {}
    files = glob.escape(str(path.resolve()))
    rows = hub.load(str(path), kind, local=True, data_files=files, split="train", streaming=True, **options)
    return _documents(hub.column(str(path), rows, params.text_column))


def _text(path: Path, params: CorpusParams) -> Chunks:
    """A text file as it is: `datasets` would turn its \\r\\n into \\n."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from _between(cast(BinaryIO, file), path, params.document_separator.encode())
    except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
        raise BadInput(f"{path}: damaged gzip ({problem}): expected a whole file") from None
    except OSError as problem:
        raise BadInput(f"{path}: {problem.strerror}: expected a file of text") from None


def _between(file: BinaryIO, path: Path, separator: bytes) -> Chunks:
    decoder = codecs.getincrementaldecoder("utf-8")()
    number, starts = 1, True
    for line in iter(lambda: file.readline(LONGEST_LINE), b""):
        try:
            decoder.decode(line)
        except UnicodeDecodeError as problem:
            byte = problem.object[problem.start]
            raise BadInput(f"{path}: line {number} has byte {byte:#04x}: expected UTF-8 text") from None
        yield None if starts and line.rstrip(b"\r\n") == separator else line
        starts = line.endswith(b"\n")
        number += starts
    if decoder.getstate()[0]:
        raise BadInput(f"{path}: line {number} ends within a character: expected UTF-8 text")
    yield None


READERS: dict[str, Callable[[Path, CorpusParams], Chunks]] = {
    ".txt": _text,
    ".txt.gz": _text,
    ".jsonl": _rows,
    ".parquet": _rows,
}


def _documents(texts: Iterator[str]) -> Chunks:
    for number, text in enumerate(texts, start=1):
        try:
            yield text.encode("utf-8")
        except UnicodeEncodeError as problem:
            raise BadInput(f"corpus: document {number}: {problem.reason}: expected text that UTF-8 can write") from None
        yield None
