"""How a tracker's table is written: to a Parquet file, or to a file of JSON lines."""

from pathlib import Path
from typing import Protocol

import pandas as pd

from variance_dynamics.base import rows
from variance_dynamics.base.errors import BadInput


class Writer(Protocol):
    """Takes the whole table so far, and how many of its first rows it has been given before."""

    def __call__(self, table: pd.DataFrame, known: int) -> None: ...


def writer(path: str | Path) -> Writer:
    """The writer for the ending of `path`. Raises BadInput if that is neither .parquet nor .jsonl."""
    path = Path(path)
    if path.suffix == ".parquet":
        return lambda table, known: rows.write(path, table)
    if path.suffix == ".jsonl":
        return lambda table, known: _append(path, table, known)
    raise BadInput(f"path is {str(path)!r}: expected a name that ends in .parquet or .jsonl")


def _append(path: Path, table: pd.DataFrame, known: int) -> None:
    """One object a line, with null where a value is not finite. The first call replaces the file."""
    if known and known == len(table):
        return  # pandas would write an empty line
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a" if known else "w", encoding="utf-8") as file:
        table[known:].to_json(file, orient="records", lines=True, double_precision=15)
