"""A corpus as memory-mapped token ids: data/corpus/{train,val}.bin and manifest.json."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "val")
MANIFEST = "manifest.json"


def dtype(vocab_size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Little-endian, 2 bytes an id where they suffice, otherwise 4."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def read_manifest(folder: Path) -> dict[str, Any]:
    """vocab_size, dtype, end_of_text, sha256, and for each split documents, bytes, tokens, bytes_per_token."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def open_tokens(folder: Path, split: str) -> NDArray[np.unsignedinteger[Any]]:
    """The token ids of a split, [tokens], memory-mapped; each document is followed by end_of_text."""
    return np.memmap(folder / f"{split}.bin", dtype=read_manifest(folder)["dtype"], mode="r")
