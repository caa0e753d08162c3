"""Where the corpus's text comes from: docstrings, files or the hub, as chunks of UTF-8."""

import codecs
import glob
import gzip
import zlib
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path

from variance_dynamics.errors import BadInput
from variance_dynamics.inputs import docstrings, hub
from variance_dynamics.inputs.corpus_params import CorpusParams
from variance_dynamics.progress import progress

Chunks = Iterator[bytes | None]
"""The bytes of one document after another, in pieces that fit in memory; None ends a document."""
LONGEST_LINE = 1 << 16
"""Longer lines are read in several chunks."""


def from_docs(params: CorpusParams) -> Chunks:
    """The prose of each module of the packages as a document."""
    return _documents("corpus.packages", docstrings.documents(params.packages))


def from_hub(params: CorpusParams) -> Chunks:
    """Each row of a text data set on the hub as a document, streamed."""
    source, where = params.hub, "corpus.hub"
    chosen = {"name": source.name, "split": source.split, "revision": source.revision}
    rows = hub.load(where, source.path, {**chosen, "streaming": True})
    known = (rows.info.splits or {}).get(source.split)
    texts = hub.column(where, rows, params.text_column)
    bar = progress(texts, desc="download", unit=" rows", total=known.num_examples if known else None)
    return _documents(where, iter(bar))


def from_files(params: CorpusParams) -> Chunks:
    """The documents of each file: a row of .jsonl or .parquet, or what lies between separators in .txt."""
    files = paths(params.files)
    total = sum(path.stat().st_size for path in files)
    with progress(desc="read", unit="B", unit_scale=True, total=total) as bar:
        done = 0
        for path in files:
            with path.open("rb") as file:
                for chunk in READERS[_kind(path)](path, file, params):
                    yield chunk
                    bar.update(done + file.tell() - bar.n)
            done += path.stat().st_size
            bar.update(done - bar.n)


SOURCES: dict[str, Callable[[CorpusParams], Chunks]] = {
    "docs": from_docs,
    "files": from_files,
    "hub": from_hub,
}


def paths(patterns: list[str]) -> list[Path]:
    """The files that the globs name, each once, sorted; BadInput where a glob names none or a wrong kind."""
    found: set[Path] = set()
    for pattern in patterns:
        matches = [path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file()]  # noqa: PTH207
        if not matches:
            kinds = ", ".join(READERS)
            raise BadInput(f"corpus.files has {pattern!r}, which matches no file: expected files in {kinds}")
        found.update(matches)
    for path in sorted(found):
        if _kind(path) not in READERS:
            raise BadInput(f"corpus.files matches {path}: expected only files in {', '.join(READERS)}")
    return sorted(found)


def _kind(path: Path) -> str:
    return next((suffix for suffix in READERS if path.name.endswith(suffix)), path.suffix)


def _json(path: Path, file: BufferedReader, params: CorpusParams) -> Chunks:
    return _rows(path, params, "json")


def _parquet(path: Path, file: BufferedReader, params: CorpusParams) -> Chunks:
    return _rows(path, params, "parquet", batch_size=hub.BATCH)


def _rows(path: Path, params: CorpusParams, builder: str, **options: object) -> Chunks:
    """The rows of a local file through `datasets`, streamed."""
    files = glob.escape(str(path.resolve()))
    options = {"data_files": files, "split": "train", "streaming": True, **options}
    rows = hub.load(str(path), builder, options, local=True)
    return _documents(str(path), hub.column(str(path), rows, params.text_column))


def _text(path: Path, file: BufferedReader, params: CorpusParams) -> Chunks:
    """A text file byte for byte, which `datasets` is not: it turns \\r\\n into \\n."""
    return _between(file, path, params.document_separator.encode())


def _gzip_text(path: Path, file: BufferedReader, params: CorpusParams) -> Chunks:
    try:
        with gzip.open(file) as text:
            yield from _between(text, path, params.document_separator.encode())
    except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
        raise BadInput(f"{path}: damaged gzip ({problem}): expected a whole file") from None


def _between(file: BufferedReader | gzip.GzipFile, path: Path, separator: bytes) -> Chunks:
    """What lies between lines that are just `separator`."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    number, starts = 1, True
    while line := file.readline(LONGEST_LINE + len(separator)):
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


READERS: dict[str, Callable[[Path, BufferedReader, CorpusParams], Chunks]] = {
    ".txt": _text,
    ".txt.gz": _gzip_text,
    ".jsonl": _json,
    ".parquet": _parquet,
}


def _documents(where: str, texts: Iterator[str]) -> Chunks:
    for number, text in enumerate(texts, start=1):
        try:
            yield text.encode("utf-8")
        except UnicodeEncodeError as problem:
            raise BadInput(f"{where}: document {number}: {problem.reason}: expected Unicode text") from None
        yield None
