"""Stage `classification`: each dataset split, standardised and written as one .npz, with a manifest."""

import hashlib
import json
from pathlib import Path

import numpy as np

from study.base import params, runs
from study.data.classification import SPLITS, prepare
from study.data.classification_params import ClassificationParams
from variance_dynamics.base.errors import one_line

OUT = Path("data/classification")


@one_line
@runs.noted("classification", OUT)
def main() -> None:
    section = params.section(params.read(), "classification", ClassificationParams)
    prepared = {name: prepare(name, section) for name in section.datasets}
    OUT.mkdir(parents=True, exist_ok=True)
    manifest = {}
    for name, (splits, classes) in prepared.items():
        path = OUT / f"{name}.npz"
        np.savez(path, **splits)  # type: ignore[arg-type]
        manifest[name] = {
            "classes": classes,
            "features": splits["x_train"].shape[1],
            **{part: len(splits[f"y_{part}"]) for part in SPLITS},
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        print(f"{name}: {manifest[name]}")
    (OUT / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
