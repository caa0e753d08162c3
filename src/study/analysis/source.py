"""All tables, effects and metrics of one run of the study: this one, or a recorded one in the same form."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from study.analysis import e1, e2, e3, e3_claims, e3_metrics, effects, outcomes
from study.analysis.band_theory import with_signal
from study.analysis.params import AnalyzeParams
from study.base.labelled import Labelled
from variance_dynamics.base import rows
from variance_dynamics.base.errors import BadInput

Tables = dict[str, pd.DataFrame]
Numbers = dict[str, float | int | None]
MLP = ("models", "curves", "layers")
GPT2 = ("weights", "losses", "activations", "histograms")


@dataclass
class Found:
    """Tables by name, the claims' effects, metrics by experiment; one that was not run adds nothing."""

    tables: Tables = field(default_factory=dict)
    effects: pd.DataFrame = field(default_factory=effects.none)
    metrics: dict[str, Numbers] = field(default_factory=dict)

    def add(self, experiment: str, tables: Tables, effects: pd.DataFrame, metrics: Numbers) -> None:
        """Take in an experiment's results."""
        self.tables |= tables
        self.effects = pd.concat([self.effects, effects]) if len(self.effects) else effects
        self.metrics[experiment] = metrics


def analyzed(folder: Path, params: AnalyzeParams, data: Mapping[str, Labelled],
             items: list[str] | None = None) -> Found:
    """The results of the experiments that `folder` holds: mlp_sweep, init_comparison, gpt2.

    data: the datasets at hand, for theory; items: which runs of gpt2 to read, all if None.
    """
    found = Found()
    if (folder / "mlp_sweep").is_dir():
        runs, _, layers = mlp_tables(folder / "mlp_sweep", params)
        runs = with_signal(runs, data)
        found.add("mlp_sweep", e1.tables(runs, layers, params), e1.claim_effects(runs, params),
                  e1.metrics(runs, params))
    if (folder / "init_comparison").is_dir():
        runs, curves, layers = mlp_tables(folder / "init_comparison", params)
        found.add("init_comparison", e2.tables(runs, curves, layers, params), e2.claim_effects(runs, params),
                  e2.metrics(runs, params))
    names = sorted(path.name for path in (folder / "gpt2").glob("*/")) if items is None else items
    if names:
        measured = e3.measure(*gpt2_tables([folder / "gpt2" / name for name in names]))
        tables = e3.tables(measured, params)
        found.add("gpt2", tables, e3_claims.claim_effects(measured, params),
                  e3_metrics.metrics(tables, params))
    return found


def mlp_tables(folder: Path, params: AnalyzeParams) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Outcomes, curves and layers of E1 or E2, as its stage or as `keep` wrote them."""
    if (folder / outcomes.KEPT).is_file():
        curves, layers = (_read(folder / f"{name}.parquet") for name in MLP[1:])
        return outcomes.judged(_read(folder / outcomes.KEPT), params), curves, layers
    models, curves, layers = (_read(folder / f"{name}.parquet") for name in MLP)
    return outcomes.of(models, curves, params), curves, layers


def gpt2_tables(folders: list[Path]) -> tuple[Tables, list[dict[str, object]]]:
    """The four tables of all runs in one, and what each run.json says."""
    tables = {name: pd.concat([_read(folder / f"{name}.parquet") for folder in folders], ignore_index=True)
              for name in GPT2}
    return tables, [json.loads((folder / "run.json").read_text(encoding="utf-8")) for folder in folders]


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise BadInput(f"{path}: no such file: expected the tables of a finished run")
    return rows.read(path)
