"""Stage `classification`: split and standardise each dataset, and write it as one .npz, with a manifest."""

import hashlib
import json

import numpy as np

from study.base import guard, params, runs
from study.base.labelled import FOLDER, SPLITS
from study.data.classification import prepare
from study.data.params import RAW, ClassificationParams
from variance_dynamics.base.atomic import replacing
from variance_dynamics.base.errors import one_line

KNOBS = params.only("classification")


@one_line
@runs.noted("classification", FOLDER, KNOBS)
@guard.unchanged(FOLDER, KNOBS, [RAW])
def main() -> None:
    section = params.section(params.read(), "classification", ClassificationParams)
    prepared = {name: prepare(name, section) for name in section.datasets}
    manifest = {}
    with replacing(FOLDER) as done:
        done.mkdir()
        for name, (splits, classes) in prepared.items():
            path = done / f"{name}.npz"
            np.savez(path, **splits)  # type: ignore[arg-type]
            manifest[name] = {
                "classes": classes,
                "features": splits["x_train"].shape[1],
                **{part: len(splits[f"y_{part}"]) for part in SPLITS},
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            print(f"{name}: {manifest[name]}")
        (done / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
