"""The library `datasets`, kept to this project's folder, without code from the hub."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from variance_dynamics.base.errors import BadInput

CACHE = Path(".cache/huggingface")
BATCH = 256
"""Rows held in memory at once."""


def load(where: str, path: str, options: dict[str, Any]) -> Any:
    """`datasets.load_dataset(path, **options)`: of version 4 or newer, which runs no code of a data set.

    Caches lie in .cache/ of this folder unless HF_HUB_CACHE and HF_DATASETS_CACHE say otherwise.
    Raises BadInput, starting with `where`, for whatever cannot be loaded.
    """
    os.environ.setdefault("HF_DATASETS_CACHE", str(CACHE.resolve() / "datasets"))
    os.environ.setdefault("HF_HUB_CACHE", str(CACHE.resolve() / "hub"))
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what fails is raised, and told below
    try:
        return datasets.load_dataset(path, **options)
    except Exception as problem:  # whatever the hub, the network or a file's format may raise
        raise BadInput(f"{where}: {path}: {_first_line(problem)}: expected a data set that loads") from None


def column(where: str, rows: Any, name: str) -> Iterator[str]:
    """The texts of one column of a streamed data set, in order, a few rows in memory at a time.

    Raises BadInput, starting with `where`, for a missing column or a row that is not text.
    """
    number = 0
    try:
        for table in rows.with_format("arrow").iter(batch_size=BATCH):
            if name not in table.column_names:
                known = " or ".join(table.column_names)
                raise BadInput(f"{where}: corpus.text_column is {name!r}: expected {known}")
            for text in table.column(name).to_pylist():
                number += 1
                if not isinstance(text, str):
                    raise BadInput(f"{where}: row {number} of column {name!r} is {text!r:.60}: expected text")
                yield text
    except BadInput:
        raise
    except Exception as problem:
        told = _first_line(problem)
        raise BadInput(f"{where}: after row {number}: {told}: expected readable rows") from None


def _first_line(problem: Exception) -> str:
    cause = problem.__cause__ or problem
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]
