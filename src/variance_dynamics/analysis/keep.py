"""E1 and E2 without the rows that no figure and no claim needs: the form in which a recorded run is kept.

Models and every step's loss become outcomes.parquet, a row per run: a rule's thresholds can still change,
but not the share of steps at the end, the smoothing and the threshold that steps were counted for.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from variance_dynamics import rows
from variance_dynamics.analysis import contrasts, e2, outcomes
from variance_dynamics.analysis.band_theory import with_signal
from variance_dynamics.analysis.params import AnalyzeParams
from variance_dynamics.inputs.labelled import Labelled

MLP = ("models", "curves", "layers")


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


def _read(folder: Path, params: AnalyzeParams) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    models, curves, layers = (rows.read(folder / f"{name}.parquet") for name in MLP)
    return outcomes.measured(models, curves, params), curves, layers


def _write(out: Path, runs: pd.DataFrame, curves: pd.DataFrame, layers: pd.DataFrame) -> None:
    rows.write(out / outcomes.KEPT, runs)
    rows.write(out / "curves.parquet", curves)
    rows.write(out / "layers.parquet", layers[layers["step"].isin([0, layers["step"].max()])])
