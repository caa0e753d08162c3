"""Where a tracker's table goes: a Parquet file, or a file of JSON lines."""

from pathlib import Path
from typing import Protocol

import pandas as pd

from variance_dynamics.base import rows
from variance_dynamics.base.errors import BadInput


class Writer(Protocol):
    """Called with the whole table so far and how many of its first rows it was given before."""

    def __call__(self, table: pd.DataFrame, known: int) -> None: ...


def writer(path: str | Path) -> Writer:
    """By the ending of `path`. Raises BadInput for one that is neither .parquet nor .jsonl."""
    path = Path(path)
    if path.suffix == ".parquet":
        return lambda table, known: rows.write(path, table)
    if path.suffix == ".jsonl":
        return lambda table, known: _append(path, table, known)
    raise BadInput(f"path is {str(path)!r}: expected a name that ends in .parquet or .jsonl")


def _append(path: Path, table: pd.DataFrame, known: int) -> None:
    """One object a line; null where a value is not finite. The first call starts the file anew."""
    if known and known == len(table):
        return  # pandas would write an empty line
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a" if known else "w", encoding="utf-8") as file:
        table[known:].to_json(file, orient="records", lines=True, double_precision=15)
