"""The form in which a recorded run is kept: without the rows that no figure and no claim needs.

E1, E2: models and every step's loss become outcomes.parquet, a row per run. Most thresholds of the rules can
still change, but not those that the outcomes were counted by: the share of steps at the end, the smoothing
and the loss to reach (params.COUNTED). E3: the statistics that R, D and their causes are computed from, all
but rms in float32.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from study.analysis import e2, e2_contrasts, mlp
from study.analysis.e1_bands import with_signal
from study.analysis.params import AnalyzeParams
from study.analysis.source import MLP
from study.base.labelled import Labelled
from variance_dynamics.base import rows

WEIGHTS = ("std", "rms", "update_rms", "grad_norm", "grad_kurtosis", "epsilon_share")
"""Statistics of each weight matrix that are kept, beside all displacements (delta_...)."""


def mlp_sweep(folder: Path, out: Path, params: AnalyzeParams, data: Mapping[str, Labelled]) -> None:
    """Keep E1: outcomes with the data's signal, no curves, layers at init and at the last evaluation."""
    runs, curves, layers = _read(folder, params)
    _write(out, with_signal(runs, data), curves[:0], layers)


def init_comparison(folder: Path, out: Path, params: AnalyzeParams) -> None:
    """Keep E2: outcomes, curves at the shared and best lr, layers (init and end) at the shared lr."""
    runs, curves, layers = _read(folder, params)
    compared = e2_contrasts.selected(mlp.judged(runs, params))
    curves = curves[curves["run"].isin(compared["run"])]
    smooth = e2.smooth_train_loss(curves, params.e2.smoothing_steps).astype({"value": "float32"})
    evaluated = curves[curves["stat"].isin(["val_loss", "val_accuracy"])]
    shown = layers["run"].isin(e2_contrasts.at_shared_lr(runs)["run"])
    _write(out, runs, pd.concat([smooth, evaluated]), layers[shown])


def gpt2(folder: Path, out: Path, histograms: bool = True) -> None:
    """Keep one run of E3: the statistics of WEIGHTS, losses, activations, run.json, histograms if wanted.

    All but rms are rounded to float32: R at the first steps is a small difference of rms^2, which would not
    survive it.
    """
    weights = rows.read(folder / "weights.parquet")
    kept = weights["stat"].isin(WEIGHTS) | weights["stat"].str.startswith("delta_")
    weights = weights[kept].sort_values(["stat", "layer", "role", "step"], kind="stable")
    rounded = weights["value"].astype("float32").astype("float64")
    weights = weights.assign(value=weights["value"].where(weights["stat"] == "rms", rounded))
    bins = rows.read(folder / "histograms.parquet")
    _compact(out / "weights.parquet", weights)
    _compact(out / "losses.parquet", rows.read(folder / "losses.parquet"))
    _compact(out / "activations.parquet", rows.read(folder / "activations.parquet"))
    _compact(out / "histograms.parquet", bins if histograms else bins[:0])
    shutil.copyfile(folder / "run.json", out / "run.json")


def _compact(path: Path, frame: pd.DataFrame) -> None:
    """Like rows.write, but with the floats' bytes split by their place in the number, which packs better."""
    floats = [name for name in frame if frame[name].dtype.kind == "f"]
    others = [name for name in frame if name not in floats]
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False, compression="zstd", compression_level=19, use_dictionary=others,
                     use_byte_stream_split=floats)


def _read(folder: Path, params: AnalyzeParams) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    models, curves, layers = (rows.read(folder / f"{name}.parquet") for name in MLP)
    return mlp.measured(models, curves, params), curves, layers


def _write(out: Path, runs: pd.DataFrame, curves: pd.DataFrame, layers: pd.DataFrame) -> None:
    _compact(out / mlp.KEPT, runs)
    _compact(out / "curves.parquet", curves)
    _compact(out / "layers.parquet", layers[layers["step"].isin([0, layers["step"].max()])])
