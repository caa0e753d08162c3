"""The labelled datasets that the stage `classification` has prepared, as arrays."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FOLDER = Path("data/classification")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Labelled:
    """One dataset: by split ("train", "val", "test"), x [n, features] float32 and y [n] int64."""

    x: dict[str, NDArray[np.float32]]
    y: dict[str, NDArray[np.int64]]
    classes: int

    @property
    def features(self) -> int:
        return int(self.x["train"].shape[1])

    @property
    def second_moment(self) -> float:
        """Mean square of the training inputs. Features that are constant make it smaller than 1."""
        return float(np.mean(np.square(self.x["train"], dtype=np.float64)))


def load(folder: Path = FOLDER) -> dict[str, Labelled]:
    """The datasets that the folder's manifest names, in its order."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return {name: _read(folder / f"{name}.npz", entry["classes"]) for name, entry in manifest.items()}


def _read(path: Path, classes: int) -> Labelled:
    with np.load(path) as arrays:
        x, y = ({split: arrays[f"{axis}_{split}"] for split in SPLITS} for axis in "xy")
    return Labelled(x, y, classes)
