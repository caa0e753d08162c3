"""A run without the rows that no figure and no claim needs: the form in which a recorded run is kept.

E1, E2: models and every step's loss become outcomes.parquet, a row per run: a rule's thresholds can still
change, but not the share of steps at the end, the smoothing and the threshold that steps were counted for.
E3: the statistics that R, D and their causes are made of, all but rms in float32.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from study.analysis import contrasts, e2, outcomes
from study.analysis.band_theory import with_signal
from study.analysis.params import AnalyzeParams
from study.base.labelled import Labelled
from variance_dynamics.base import rows

MLP = ("models", "curves", "layers")
WEIGHTS = ("std", "rms", "update_rms", "grad_norm", "grad_kurtosis", "epsilon_share")
"""Statistics kept of each weight matrix, beside all displacements (delta_...)."""


def mlp_sweep(folder: Path, out: Path, params: AnalyzeParams, data: Mapping[str, Labelled]) -> None:
    """E1: outcomes with the data's signal, no curves, layers at init and at the last evaluation."""
    runs, curves, layers = _read(folder, params)
    _write(out, with_signal(runs, data), curves[:0], layers)


def init_comparison(folder: Path, out: Path, params: AnalyzeParams) -> None:
    """E2: outcomes, curves at the shared and best learning rates, layers (init and end) at the shared one."""
    runs, curves, layers = _read(folder, params)
    judged = outcomes.judged(runs, params)
    curves = curves[curves["run"].isin(contrasts.selected(judged)["run"])]
    smooth = e2.smooth_train_loss(curves, params.e2.smoothing_steps).astype({"value": "float32"})
    evaluated = curves[curves["stat"].isin(["val_loss", "val_accuracy"])]
    shown = layers["run"].isin(contrasts.at_shared_lr(runs)["run"])
    _write(out, runs, pd.concat([smooth, evaluated]), layers[shown])


def gpt2(folder: Path, out: Path, histograms: bool = True) -> None:
    """E3, one run: the kept statistics, losses, activations, run.json, and histograms if they are shown.

    R at the first steps is a small difference of rms^2, which would not survive float32; nothing else is.
    """
    weights = rows.read(folder / "weights.parquet")
    kept = weights["stat"].isin(WEIGHTS) | weights["stat"].str.startswith("delta_")
    weights = weights[kept].sort_values(["stat", "layer", "role", "step"], kind="stable")
    rounded = weights["value"].astype("float32").astype("float64")
    shown = rows.read(folder / "histograms.parquet")
    _compact(out / "weights.parquet", weights.assign(value=weights["value"].where(weights["stat"] == "rms",
                                                                                    rounded)))
    _compact(out / "losses.parquet", rows.read(folder / "losses.parquet"))
    _compact(out / "activations.parquet", rows.read(folder / "activations.parquet"))
    _compact(out / "histograms.parquet", shown if histograms else shown[:0])
    shutil.copyfile(folder / "run.json", out / "run.json")


def _compact(path: Path, frame: pd.DataFrame) -> None:
    """As rows.write, with the bytes of floats apart by their place in the number, which packs better."""
    floats = [name for name in frame if frame[name].dtype.kind == "f"]
    others = [name for name in frame if name not in floats]
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False, compression="zstd", compression_level=19, use_dictionary=others,
                     use_byte_stream_split=floats)


def _read(folder: Path, params: AnalyzeParams) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    models, curves, layers = (rows.read(folder / f"{name}.parquet") for name in MLP)
    return outcomes.measured(models, curves, params), curves, layers


def _write(out: Path, runs: pd.DataFrame, curves: pd.DataFrame, layers: pd.DataFrame) -> None:
    _compact(out / outcomes.KEPT, runs)
    _compact(out / "curves.parquet", curves)
    _compact(out / "layers.parquet", layers[layers["step"].isin([0, layers["step"].max()])])
