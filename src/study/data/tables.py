"""Documents in tables: the texts in one column of .jsonl, .csv, .parquet and data sets on the hub."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from study.data import hub
from study.data.params import CorpusParams
from study.data.plain import BOM
from variance_dynamics.base.errors import BadInput

Texts = Iterator[str | None]
"""The texts of the rows in order; None for a row whose text is null."""
LONGEST_ROW = 1 << 26
"""The most bytes of a row of .jsonl or .csv, and of a batch of rows of .parquet, as these are read whole."""
ROWS = 8
"""Rows of .parquet in a batch. They are few because one long entry of a dictionary may be in every row."""
MOST_TEXT = 100
"""The most bytes of text for each byte of a file, so that a small file cannot fill the disk."""
FREE = 1 << 26
"""Bytes of text that a file of any size may have beyond that."""


def documents(where: str, texts: Texts, params: CorpusParams) -> Iterator[bytes | None]:
    """The UTF-8 bytes of each row's text, each followed by None.

    Rows whose text is null are refused or left out, as params say; a line then prints how many they were.
    """
    nulls = 0
    for number, text in enumerate(texts, start=1):
        if text is None:
            nulls += 1
            if params.null_rows == "refuse":
                null = f"row {number} of column {params.text_column!r} is null"
                raise BadInput(f"{where}: {null}: expected text, or corpus.null_rows: skip")
            continue
        try:
            yield text.encode("utf-8")
        except UnicodeEncodeError as problem:
            raise BadInput(f"{where}: row {number}: {problem.reason}: expected Unicode text") from None
        yield None
    if nulls:
        print(f"{where}: {nulls} rows without text skipped")


def json_rows(path: Path, file: BinaryIO, column: str) -> Texts:
    """The texts of a .jsonl file, read line by line: `datasets` does not say which line is bad."""
    number = 0
    while line := file.readline(LONGEST_ROW):
        number += 1
        if len(line) == LONGEST_ROW:
            raise BadInput(f"{path}: line {number} has {LONGEST_ROW} bytes or more: expected shorter rows")
        line = line.removeprefix(BOM)  # at the start of each file that was joined to this one
        if line.strip():
            yield _json_text(f"{path}: line {number}", line, column)


def _json_text(where: str, line: bytes, column: str) -> str | None:
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise BadInput(f"{where}: {problem}: expected a JSON object in UTF-8") from None
    if not isinstance(row, dict):
        raise BadInput(f"{where} is {row!s:.60}: expected a JSON object")
    _check_column(where, column, list(row))
    text = row[column]
    if not isinstance(text, str | None):
        raise BadInput(f"{where}: column {column!r} is {text!r:.60}: expected text")
    return text


def csv_rows(path: Path, file: BinaryIO, column: str) -> Texts:
    """The texts of a .csv file with commas, whose first row names the columns. No cell is null in it."""
    csv.field_size_limit(LONGEST_ROW)
    lines = _Lines(path, file)
    rows = csv.reader(lines, strict=True)
    try:
        header = next(rows, [])
        _check_column(str(path), column, header)
        if header.count(column) > 1:
            raise BadInput(f"{path}: {header.count(column)} columns {column!r}: expected one")
        for row in rows:
            if len(row) not in (0, len(header)):  # an empty line has no values
                raise BadInput(f"{path}: line {rows.line_num} ends a row of {len(row)} values: "
                               f"expected {len(header)}, as the first row has")
            yield from row[header.index(column) :][:1]
            lines.row = 0
    except csv.Error as problem:
        raise BadInput(f"{path}: line {rows.line_num}: {problem}: expected CSV with commas") from None


class _Lines:
    """The lines of a file as text. `row` is the number of bytes since it was last set to 0."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file, self.row, self.number = path, file, 0, 0

    def __iter__(self) -> Iterator[str]:
        while line := self.file.readline(LONGEST_ROW):
            self.number += 1
            self.row += len(line)
            where = f"{self.path}: line {self.number}"
            if self.row >= LONGEST_ROW:
                raise BadInput(f"{where} is in a row of {LONGEST_ROW} bytes or more: expected shorter rows")
            if b"\0" in line:
                raise BadInput(f"{where} has a byte 0: expected UTF-8 text (UTF-16 has such bytes)")
            try:
                yield line.removeprefix(BOM if self.number == 1 else b"").decode("utf-8")
            except UnicodeDecodeError as problem:
                byte = problem.object[problem.start]
                raise BadInput(f"{where} has byte {byte:#04x}: expected UTF-8 text") from None


def parquet_rows(path: Path, column: str) -> Texts:
    """The texts of a .parquet file."""
    expected = "a whole Parquet file, of pages that fit in memory"
    return column_rows(str(path), column, _batches(path, column), expected)


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


def column_rows(where: str, column: str, batches: Iterator[Any], expected: str) -> Texts:
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
                if not isinstance(text, str | None):
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
