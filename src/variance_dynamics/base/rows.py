"""Long tables in Parquet: one row per measurement, and the same bytes for the same rows."""

import os
from pathlib import Path

import pandas as pd


def write(path: str | Path, frame: pd.DataFrame) -> None:
    """Write atomically: a process that is killed leaves the old file or the new one, never half of one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        frame.to_parquet(partial, index=False, compression="zstd")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)  # it is still there if the disk was full


def read(path: str | Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a table written by `write`."""
    return pd.read_parquet(path, columns=columns)
