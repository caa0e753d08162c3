"""Long tables: one row per measurement, in Parquet, the same bytes for the same rows."""

import os
from pathlib import Path

import pandas as pd


def write(path: str | Path, frame: pd.DataFrame) -> None:
    """Write atomically: a killed process leaves the old file or the new one, never half of one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        frame.to_parquet(partial, index=False, compression="zstd")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)  # the disk may be full


def read(path: str | Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a table written by `write`."""
    return pd.read_parquet(path, columns=columns)
