"""Long tables in Parquet: one row per measurement, and the same bytes for the same rows."""

from pathlib import Path

import pandas as pd

from variance_dynamics.base.atomic import replacing


def write(path: str | Path, frame: pd.DataFrame) -> None:
    """Write atomically: a process that is killed leaves the old file or the new one, never half of one."""
    with replacing(path) as partial:
        frame.to_parquet(partial, index=False, compression="zstd")


def read(path: str | Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a table written by `write`."""
    return pd.read_parquet(path, columns=columns)
