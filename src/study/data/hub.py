"""Data sets from the Hugging Face hub, cached in this project's folder. None of their code is run."""

import os
from pathlib import Path
from typing import Any

from variance_dynamics.base.errors import BadInput

CACHE = Path(".cache/huggingface")


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
        raise BadInput(f"{where}: {path}: {first_line(problem)}: expected a data set that loads") from None


def first_line(problem: Exception) -> str:
    """The first line of what a library says about a problem, or of what caused it; else the error's name."""
    cause = problem.__cause__ or problem
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]
