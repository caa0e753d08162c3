"""The sources of the corpus's text: docstrings, files or the hub, as chunks of UTF-8."""

import codecs
import glob
import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from study.data import docstrings, hub
from study.data.params import CorpusParams
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.progress import progress

Chunks = Iterator[bytes | None]
"""The bytes of all documents in order, in pieces that fit in memory. None stands after each document."""
LONGEST_LINE = 1 << 16
"""Bytes of plain text that are read at once: a longer line is several chunks."""
LONGEST_ROW = 1 << 26
"""The most bytes of a row of .jsonl, and of a batch of rows of .parquet, as these are read whole."""
ROWS = 8
"""Rows of .parquet in a batch. They are few because one long entry of a dictionary may be in every row."""
HUB_ROWS = 256
"""Rows of a data set on the hub that are in memory at once."""
MOST_TEXT = 100
"""The most bytes of text for each byte of a file, so that a small file cannot fill the disk."""
FREE = 1 << 26
"""Bytes of text that a file of any size may have beyond that."""


def from_docs(params: CorpusParams) -> Chunks:
    """The prose of the packages; each module is a document."""
    return _documents("corpus.packages", docstrings.documents(params.packages))


def from_hub(params: CorpusParams) -> Chunks:
    """The rows of a text data set on the hub, which is streamed; each row is a document."""
    source, where = params.hub, "corpus.hub"
    chosen = {"name": source.name, "split": source.split, "revision": source.revision}
    rows = hub.load(where, source.path, {**chosen, "streaming": True})
    known = (rows.info.splits or {}).get(source.split)
    batches = rows.with_format("arrow").iter(batch_size=HUB_ROWS)
    texts = _column(where, params.text_column, batches, "readable rows")
    bar = progress(texts, desc="download", unit=" rows", total=known.num_examples if known else None)
    return _documents(where, iter(bar))


def from_files(params: CorpusParams) -> Chunks:
    """The documents of each file: the rows of .jsonl and .parquet, the text between separators in .txt."""
    files = paths(params.files)
    sizes = {path: path.stat().st_size for path in files}
    with progress(desc="read", unit="B", unit_scale=True, total=sum(sizes.values())) as bar:
        done = 0
        for path in files:
            with path.open("rb") as file:
                for chunk in _bounded(path, sizes[path], READERS[_kind(path)](path, file, params)):
                    yield chunk
                    bar.update(done + file.tell() - bar.n)
            done += sizes[path]
            bar.update(done - bar.n)


def _bounded(path: Path, size: int, chunks: Chunks) -> Chunks:
    """The same chunks. Raises BadInput when they are more than `MOST_TEXT` and `FREE` allow for that size."""
    left = FREE + MOST_TEXT * size
    for chunk in chunks:
        left -= len(chunk or b"")
        if left < 0:
            raise BadInput(f"{path}: over {MOST_TEXT} times as much text as its {size} bytes: expected less")
        yield chunk


SOURCES: dict[str, Callable[[CorpusParams], Chunks]] = {
    "docs": from_docs,
    "files": from_files,
    "hub": from_hub,
}


def paths(patterns: list[str]) -> list[Path]:
    """The files that match, each once, sorted. Raises BadInput where nothing or another kind matches."""
    chosen: set[Path] = set()
    for pattern in patterns:
        matches = [path for path in map(Path, _matches(pattern)) if path.is_file()]
        if not matches:
            kinds = ", ".join(READERS)
            raise BadInput(f"corpus.files has {pattern!r}, which matches no file: expected files in {kinds}")
        chosen.update(matches)
    for path in sorted(chosen):
        if _kind(path) not in READERS:
            raise BadInput(f"corpus.files matches {path}: expected only files in {', '.join(READERS)}")
    return sorted(chosen)


def _matches(pattern: str) -> Iterator[str]:
    """Like glob.glob, but `**` does not follow links to folders, as these may lead in endless circles."""
    if "\0" in pattern:
        return
    pattern = f"{pattern}/*" if f"/{pattern}".endswith("/**") else pattern
    before, deep, after = f"/{pattern}".partition("/**/")
    if not deep:
        yield from glob.iglob(pattern)  # noqa: PTH207
        return
    for root in glob.iglob(f"{before}/"[1:] or "./"):  # noqa: PTH207
        for folder, inside, _ in os.walk(root):
            inside[:] = [name for name in inside if not name.startswith(".")]
            yield from _matches(os.path.join(glob.escape(folder), after))  # noqa: PTH118


def _kind(path: Path) -> str:
    return next((suffix for suffix in READERS if path.name.endswith(suffix)), path.suffix)


def _json(path: Path, file: BufferedReader, params: CorpusParams) -> Chunks:
    return _documents(str(path), _json_rows(path, file, params.text_column))


def _json_rows(path: Path, file: BufferedReader, column: str) -> Iterator[str]:
    number = 0
    while line := file.readline(LONGEST_ROW):
        number += 1
        if len(line) == LONGEST_ROW:
            raise BadInput(f"{path}: line {number} has {LONGEST_ROW} bytes or more: expected shorter rows")
        if line.strip():
            yield _json_text(f"{path}: line {number}", line, column)


def _json_text(where: str, line: bytes, column: str) -> str:
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise BadInput(f"{where}: {problem}: expected a JSON object in UTF-8") from None
    if not isinstance(row, dict):
        raise BadInput(f"{where} is {row!s:.60}: expected a JSON object")
    _check_column(where, column, list(row))
    if not isinstance(row[column], str):
        raise BadInput(f"{where}: column {column!r} is {row[column]!r:.60}: expected text")
    return str(row[column])


def _parquet(path: Path, file: BufferedReader, params: CorpusParams) -> Chunks:
    batches = _batches(path, params.text_column)
    expected = "a whole Parquet file, of pages that fit in memory"
    return _documents(str(path), _column(str(path), params.text_column, batches, expected))


def _batches(path: Path, column: str) -> Iterator[Any]:
    """The column's rows of a .parquet file, `ROWS` at a time, as record batches of pyarrow."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path, pre_buffer=False) as file:
        _check_column(str(path), column, file.schema_arrow.names)
        _check_row_groups(path, file.metadata)
        for batch in file.iter_batches(ROWS, columns=[column], use_threads=False):
            if batch.nbytes > LONGEST_ROW:
                raise BadInput(f"{path}: {ROWS} rows of {batch.nbytes} bytes: expected shorter ones")
            yield batch


def _column(where: str, column: str, batches: Iterator[Any], expected: str) -> Iterator[str]:
    """The texts in one column of batches of rows, in order.

    Raises BadInput, which starts with `where`, for a missing column, for a row that is not text, and for rows
    that cannot be read; `expected` is then the end of its message.
    """
    number = 0
    try:
        for batch in batches:
            _check_column(where, column, batch.schema.names)
            for text in batch.column(column).to_pylist():
                number += 1
                if not isinstance(text, str):
                    row = f"row {number} of column {column!r}"
                    raise BadInput(f"{where}: {row} is {text!r:.60}: expected text")
                yield text
    except BadInput:
        raise
    except Exception as problem:  # the libraries raise many kinds for what is damaged
        first = hub.first_line(problem)
        raise BadInput(f"{where}: after row {number}: {first}: expected {expected}") from None


def _check_column(where: str, column: str, names: list[str]) -> None:
    if column not in names:
        known = " or ".join(names[:5]) or "a column of text"
        raise BadInput(f"{where}: corpus.text_column is {column!r}: expected {known}")


def _check_row_groups(path: Path, metadata: Any) -> None:
    """Refuse a row group that takes more memory than `MOST_TEXT` and `FREE` allow for the file's size."""
    most = FREE + MOST_TEXT * path.stat().st_size
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).total_byte_size
        if not 0 <= size <= most:
            raise BadInput(f"{path}: row group {group} has {size} bytes unpacked: expected at most {most}")


def _text(path: Path, file: BufferedReader, params: CorpusParams) -> Chunks:
    """A text file byte for byte. The library `datasets` would turn \\r\\n into \\n."""
    return _between(file, path, params.document_separator.encode())


def _gzip_text(path: Path, file: BufferedReader, params: CorpusParams) -> Chunks:
    try:
        with gzip.open(file) as text:
            yield from _between(text, path, params.document_separator.encode())
    except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
        raise BadInput(f"{path}: damaged gzip ({problem}): expected a whole file") from None


def _between(file: BufferedReader | gzip.GzipFile, path: Path, separator: bytes) -> Chunks:
    """The text between lines that consist of `separator`."""
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
