"""Data sets from the Hugging Face hub, cached in this project's folder. None of their code is run."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from variance_dynamics.base.errors import BadInput

CACHE = Path(".cache/huggingface")
BATCH = 256
"""How many rows are in memory at once."""


def load(where: str, path: str, options: dict[str, Any]) -> Any:
    """What `datasets.load_dataset(path, **options)` returns. From version 4 on it runs no code of a data set.

    Caches are in .cache/ of this folder unless HF_HUB_CACHE and HF_DATASETS_CACHE are set.
    Raises BadInput, which starts with `where`, for anything that cannot be loaded.
    """
    os.environ.setdefault("HF_DATASETS_CACHE", str(CACHE.resolve() / "datasets"))
    os.environ.setdefault("HF_HUB_CACHE", str(CACHE.resolve() / "hub"))
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # failures become one line below
    try:
        return datasets.load_dataset(path, **options)
    except Exception as problem:  # the hub, the network and file formats raise many kinds
        raise BadInput(f"{where}: {path}: {_first_line(problem)}: expected a data set that loads") from None


def column(where: str, rows: Any, name: str) -> Iterator[str]:
    """The texts of one column of a streamed data set, in order, with `BATCH` rows in memory at a time.

    Raises BadInput, which starts with `where`, for a missing column or a row that is not text.
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
        first = _first_line(problem)
        raise BadInput(f"{where}: after row {number}: {first}: expected readable rows") from None


def _first_line(problem: Exception) -> str:
    cause = problem.__cause__ or problem
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]
