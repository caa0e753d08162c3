"""The table of a recorded run: the std of each matrix at each recorded step, checked."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.json_text import json_object
from variance_dynamics.forecasting.forecast import LARGEST_STD, LONGEST, Floats

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("step", "layer", "role", "stat", "value")
MATRIX = ["layer", "role", "seed", "name"]
"""Columns that identify a matrix. Pretraining's tables have no names; in a Tracker's table a layer may hold
several matrices of one role."""
TEXTS = ["role", "stat", "name", "arm"]
LONGEST_NAME = 1000
"""Characters of a name."""
FEW_ROWS = 1_000_000
"""A table may have so many rows, or one for each byte of its file."""


def read_std(path: Path) -> "pd.DataFrame":
    """The std of each matrix of one run, or of the seeds of one arm; columns step, MATRIX, value.

    A std that is NaN or infinite is NaN. Raises BadInput where the file is no table of measurements, lacks
    step 0, or has two stds of a matrix at one step.
    """
    table = _table(path)
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise BadInput(f"{path}: no column {missing[0]}: expected {', '.join(COLUMNS)}, as a Tracker writes")
    if "arm" in table and table["arm"].nunique() > 1:
        raise BadInput(f"{path}: arms {', '.join(map(str, table['arm'].unique()))}: expected one run's table")
    std = table[table["stat"] == "std"]
    name = _texts(path, std, "name", "") if "name" in std else ""
    seed = _places(path, std, "seed") if "seed" in std else 0
    std = std.assign(step=_steps(path, std), value=_stds(path, std), layer=_places(path, std, "layer"),
                     role=_texts(path, std, "role"), name=name, seed=seed)
    if (std["step"] == 0).sum() == 0:
        raise BadInput(f"{path}: no std at step 0: expected it, for the law starts from there")
    _check_once(path, std)
    return std[["step", *MATRIX, "value"]]


def read_settings(path: Path, stats: tuple[str, ...]) -> "pd.DataFrame":
    """The rows of these statistics of a table that `read_std` reads; columns step, MATRIX, stat, value."""
    table = _table(path)
    rows = table[table["stat"].isin(stats)]
    name = _texts(path, rows, "name", "") if "name" in rows else ""
    seed = _places(path, rows, "seed") if "seed" in rows else 0
    rows = rows.assign(step=_steps(path, rows), value=_numbers(path, rows, "value"), name=name, seed=seed,
                       layer=_places(path, rows, "layer"), role=_texts(path, rows, "role"))
    return rows[["step", *MATRIX, "stat", "value"]].drop_duplicates(["step", *MATRIX, "stat"], keep="last")


def _json_lines(path: Path) -> "pd.DataFrame":
    """The columns that are read, from one object a line, as a Tracker writes them; null is NaN."""
    import pandas as pd

    lines = path.read_bytes().splitlines()
    objects = [json_object(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]
    table = pd.DataFrame(objects, columns=[name for name in (*COLUMNS, "seed", "name", "arm")
                                           if name in (objects[0] if objects else {})])
    return table.assign(value=table["value"].fillna(np.nan).infer_objects()) if "value" in table else table


def _table(path: Path) -> "pd.DataFrame":
    """The columns that are read. Raises BadInput for what is no Parquet, or has more rows than bytes."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file: expected a recorded run in Parquet or .jsonl")
    if path.suffix == ".jsonl":
        return _json_lines(path)
    try:
        from pyarrow import parquet

        present = parquet.read_schema(path).names
        texts = [name for name in TEXTS if name in present]  # a long one is read once
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            rows, size = file.metadata.num_rows, path.stat().st_size
            if rows > max(FEW_ROWS, size):
                raise BadInput(f"{path}: {rows:,} rows in {size:,} bytes: expected at most one a byte")
            names = [name for name in present if name in (*COLUMNS, *MATRIX, "arm")]
            table: pd.DataFrame = file.read(names).to_pandas()
    except BadInput:
        raise
    except Exception as problem:  # pyarrow raises many kinds for what is damaged
        raise BadInput(f"{path}: {str(problem)[:80]}: expected a Parquet table") from None
    if not table.columns.is_unique:
        raise BadInput(f"{path}: a column occurs twice: expected {', '.join(COLUMNS)}, as a Tracker writes")
    return table


def _check_once(path: Path, std: "pd.DataFrame") -> None:
    twice = std[std.duplicated(["step", *MATRIX])]
    if len(twice):
        first = ", ".join(f"{column} {twice[column].iloc[0]}" for column in ("step", *MATRIX))
        raise BadInput(f"{path}: {len(twice)} of {len(std)} stds repeat a matrix and a step, "
                       f"first {first}: expected one each (is the table written twice, or a name missing?)")


def _numbers(path: Path, table: "pd.DataFrame", column: str) -> Floats:
    """A column of numbers, NaN where there is none. Raises BadInput for columns of other types."""
    from pandas.api import types

    values = table[column]
    if not types.is_numeric_dtype(values) or types.is_bool_dtype(values) or types.is_complex_dtype(values):
        raise BadInput(f"{path}: column {column} is of type {values.dtype}: expected numbers")
    return values.to_numpy(np.float64, na_value=np.nan)


def _steps(path: Path, table: "pd.DataFrame") -> NDArray[np.int64]:
    steps = _numbers(path, table, "step")
    whole = (steps >= 0) & (steps <= LONGEST) & (steps == np.floor(steps))
    _refuse(path, "step", steps, ~whole, f"whole numbers from 0 to {LONGEST:,}")
    return steps.astype(np.int64)


def _stds(path: Path, table: "pd.DataFrame") -> Floats:
    stds = _numbers(path, table, "value")
    _refuse(path, "std", stds, stds < 0, "0 or more")
    return np.where(stds <= LARGEST_STD, stds, np.nan)


def _places(path: Path, table: "pd.DataFrame", column: str) -> Floats:
    """Numbers of layers or seeds. Raises BadInput where one is missing."""
    numbers = _numbers(path, table, column)
    _refuse(path, column, numbers, ~np.isfinite(numbers), "a number in each")
    return numbers


def _texts(path: Path, table: "pd.DataFrame", column: str, missing: str | None = None) -> list[str]:
    """A column of texts, `missing` in the place of nulls. Raises BadInput for other types."""
    values = table[column].astype(object)
    texts: list[str] = values.where(values.notna(), missing).tolist()
    wrong = [text for text in texts if not isinstance(text, str) or len(text) > LONGEST_NAME]
    if wrong:
        raise BadInput(f"{path}: {column} is {str(wrong[0])[:60]} in {len(wrong)} of {len(texts)} rows: "
                       f"expected texts of at most {LONGEST_NAME} characters")
    return texts


def _refuse(path: Path, what: str, values: Floats, wrong: NDArray[np.bool_], expected: str) -> None:
    """Raises BadInput where a value is wrong, with the first of them and their number."""
    if wrong.any():
        raise BadInput(f"{path}: {what} is {values[wrong][0]:g} in {wrong.sum()} of {len(values)} rows: "
                       f"expected {expected}")
