"""Rows for `dvc plots`: the local run's tables, thinned to what a page can draw; git keeps them.

The templates in .dvc/plots read these columns by name. A band's ends are <value>_lo and <value>_hi.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.plotting.e1 import around, representative
from study.plotting.params import PlotParams, Settings
from study.plotting.style import Tables, main_first, word
from variance_dynamics.theory.propagation import critical_std
from variance_dynamics.weights.parameter import BLOCK, QKV

Rows = Callable[[Tables, PlotParams], pd.DataFrame]


def e1_loss(tables: Tables, plot: PlotParams) -> pd.DataFrame:
    """Final training loss and test accuracy, a row for each std of each shape."""
    names = ["loss", "loss_lo", "loss_hi", "accuracy", "accuracy_lo", "accuracy_hi"]
    rows = tables["e1_loss"]
    return _panel(rows)[["panel", "depth", "width", "std", *names, "n"]].assign(
        critical=[critical_std(width) for width in rows.width])


def e1_layers(tables: Tables, plot: PlotParams) -> pd.DataFrame:
    """Second moment and gradient norm per layer at init, for the stds that stand for the grid."""
    kept = []
    at_init = tables["e1_layers"][tables["e1_layers"].stat.isin(["second_moment", "grad_norm"])]
    for _, rows in at_init.groupby("dataset", sort=False):
        rows = representative(rows)
        chosen = around(rows["std"].unique(), critical_std(rows.width.iloc[0]), plot.representative_std_count)
        kept.append(rows[np.isclose(rows["std"].to_numpy()[:, None], chosen).any(axis=1)])
    rows = pd.concat(kept).rename(columns={"value": "mean"})
    rows = rows.assign(panel=rows.dataset.map(word) + ", width " + rows.width.astype(str))
    keys = ["panel", "depth", "std", "layer", "n"]
    wide = _wide(rows, keys, ["mean", "lo", "hi", "predicted"])
    measured = wide.columns.difference(keys)
    wide[measured] = wide[measured].where(wide[measured] > 0)  # 0 has no logarithm
    return wide


def e2_curves(tables: Tables, plot: PlotParams) -> pd.DataFrame:
    """Validation loss and accuracy of every scheme at the shared learning rate."""
    rows = tables["e2_curves"]
    rows = rows[(rows.lr_kind == "shared") & rows.stat.isin(["val_loss", "val_accuracy"])]
    rows = _panel(rows).assign(stat=rows.stat.str.removeprefix("val_"), scheme=rows.scheme.map(word))
    return _wide(rows, ["panel", "depth", "scheme", "step", "n"], ["mean", "lo", "hi"])


def e2_threshold(tables: Tables, plot: PlotParams) -> pd.DataFrame:
    """Steps to the threshold, a row for each scheme, optimizer, depth and choice of learning rate."""
    rows = _panel(tables["e2_threshold"].rename(columns={"lo": "steps_lo", "hi": "steps_hi"}))
    names = ["panel", "depth", "scheme", "lr_kind", "lr", "steps", "steps_lo", "steps_hi", "censored", "n"]
    return rows.assign(scheme=rows.scheme.map(word))[names]


def e3_std(tables: Tables, plot: PlotParams) -> pd.DataFrame:
    """Std of Q, K and V by layer and step, with the null law's."""
    rows = tables["e3_std"]
    rows = _role_order(thinned(rows[rows.role.isin(QKV)], 40))
    rows = _value(rows).rename(columns={"value": "std", "value_lo": "std_lo", "value_hi": "std_hi"})
    return rows[["arm", "role", "layer", "step", "std", "std_lo", "std_hi", "predicted", "n"]]


def e3_ratio(tables: Tables, plot: PlotParams) -> pd.DataFrame:
    """R and R/D by layer and role at each arm's last step."""
    rows = tables["e3_ratio"]
    rows = _role_order(rows[rows.role.isin(BLOCK)])
    rows = rows[rows.step == rows.groupby("arm").step.transform("max")]
    names = [f"{name}{end}" for name in ("R", "D", "R_over_D") for end in ("", "_lo", "_hi")]
    return rows[["arm", "role", "layer", "step", *names, "n"]]


def e3_loss(tables: Tables, plot: PlotParams) -> pd.DataFrame:
    """Training and validation loss by arm and step."""
    rows = tables["e3_loss"]
    rows = thinned(rows[rows.stat.isin(["train_loss", "val_loss"])], 100)
    rows = rows.rename(columns={"mean": "loss", "lo": "loss_lo", "hi": "loss_hi"})
    rows = rows.assign(stat=rows.stat.map(word))
    return rows[["arm", "stat", "step", "loss", "loss_lo", "loss_hi", "n"]]


ROWS: dict[str, Rows] = {
    "e1_loss": e1_loss, "e1_layers": e1_layers, "e2_curves": e2_curves, "e2_threshold": e2_threshold,
    "e3_std": e3_std, "e3_ratio": e3_ratio, "e3_loss": e3_loss,
}


def write_all(tables: Tables, folder: Path, settings: Settings) -> None:
    """Write NAME.json for every entry of ROWS whose table is there."""
    tables = main_first(tables, settings)
    for name, rows in ROWS.items():
        if name in tables and len(tables[name]):
            write(rows(tables, settings.plot), folder / f"{name}.json")


def write(rows: pd.DataFrame, path: Path) -> None:
    """A JSON list with one row a line, so that git shows which rows changed; what is not finite is null."""
    columns = [[_plain(value) for value in rows[name].tolist()] for name in rows]
    lines = [json.dumps(dict(zip(rows, row, strict=True)), separators=(",", ":"))
             for row in zip(*columns, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def _plain(value: object) -> object:
    """Five significant digits are more than a screen shows; JSON has no nan and no infinity."""
    return (float(f"{value:.5g}") if np.isfinite(value) else None) if isinstance(value, float) else value


def _panel(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(panel=rows.dataset.map(word) + ", " + rows.optimizer.map(word))


def _role_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Arm by arm in the order of a block, with names as a reader writes them."""
    arms = {arm: place for place, arm in enumerate(rows.arm.unique())}
    by = {"arm": arms, "role": {role: place for place, role in enumerate(BLOCK)}}
    rows = rows.sort_values(["arm", "role"], key=lambda names: names.map(by[str(names.name)]), kind="stable")
    return rows.assign(role=rows.role.map(word))


def _value(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.rename(columns={"lo": "value_lo", "hi": "value_hi"})


def _wide(rows: pd.DataFrame, keys: list[str], values: list[str]) -> pd.DataFrame:
    """One row for each combination of `keys`, in the order of `rows`; columns STAT, STAT_lo, STAT_hi, ..."""
    wide = rows.pivot(index=keys, columns="stat", values=values)
    pairs: list[Any] = wide.columns.to_list()
    wide.columns = pd.Index([f"{stat}_{value}".removesuffix("_mean") for value, stat in pairs])
    order = pd.MultiIndex.from_frame(rows[keys]).drop_duplicates()
    return wide.reindex(order).reset_index()


def thinned(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """The rows of at most about `count` steps of each run and arm, half evenly and half log-spaced."""
    keys = [name for name in ("source", "arm", "stat") if name in rows]
    return pd.concat([part[part.step.isin(_some(np.sort(part.step.unique()), count))]
                      for _, part in rows.groupby(keys, sort=False)])


def _some(steps: np.ndarray, count: int) -> np.ndarray:
    if len(steps) <= count:
        return steps
    aims = np.concatenate([np.linspace(steps[0], steps[-1], count // 2),
                           np.geomspace(max(steps[1], 1), steps[-1], count - count // 2)])
    return np.asarray(steps[np.abs(steps[None] - aims[:, None]).argmin(axis=1)])
