"""All tables, effects and metrics of one run of the study: this one, or a recorded one in the same form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from study.analysis import e1, e2, e3, mlp
from study.analysis.e1_bands import with_signal
from study.analysis.params import AnalyzeParams
from study.analysis.verdicts import no_effects
from study.base import run_json
from study.base.labelled import Labelled
from study.base.run_json import RunJson
from variance_dynamics.base import rows
from variance_dynamics.base.errors import BadInput

Tables = dict[str, pd.DataFrame]
Numbers = dict[str, float | int | None]
MLP = ("models", "curves", "layers")
TEXT = "corpus_manifest_sha256"
GPT2 = ("weights", "losses", "activations", "histograms")
HEADLINES = ("e1_log10_", "e2_ln_steps_ratio_", "e3_log10_variance_end_", "e3_val_loss")
"""How the names begin of the numbers that one compares between runs; they are the metrics that DVC shows."""


@dataclass
class Analysis:
    """Tables by name, the claims' effects, headlines by experiment. What was not run adds nothing."""

    tables: Tables = field(default_factory=dict)
    effects: pd.DataFrame = field(default_factory=no_effects)
    metrics: dict[str, Numbers] = field(default_factory=dict)

    def add(self, experiment: str, tables: Tables, effects: pd.DataFrame, numbers: Numbers) -> None:
        """Take in an experiment's results; all its numbers are rows of the table `numbers`."""
        listed = pd.DataFrame({"experiment": experiment, "name": list(numbers), "value": [*numbers.values()]})
        earlier = [self.tables["numbers"]] if "numbers" in self.tables else []
        self.tables |= tables | {"numbers": pd.concat([*earlier, listed.astype({"value": float})])}
        self.effects = pd.concat([self.effects, effects]) if len(self.effects) else effects
        self.metrics[experiment] = {name: value for name, value in numbers.items()
                                    if name.startswith(HEADLINES)}


def analyzed(folder: Path, params: AnalyzeParams, data: Mapping[str, Labelled],
             items: list[str] | None = None) -> Analysis:
    """The results of the experiments that `folder` holds: mlp_sweep, init_comparison, gpt2.

    data: the datasets that theory needs, as far as they are known; items: the runs of gpt2 to read, all if
    None. Raises BadInput if a run lacks a table.
    """
    analysis = Analysis()
    if (folder / "mlp_sweep").is_dir():
        runs, _, layers = mlp_tables(folder / "mlp_sweep", params)
        runs = with_signal(runs, data)
        analysis.add("mlp_sweep", e1.tables(runs, layers, params), e1.claim_effects(runs, params),
                     e1.numbers(runs, params))
    if (folder / "init_comparison").is_dir():
        runs, curves, layers = mlp_tables(folder / "init_comparison", params)
        analysis.add("init_comparison", e2.tables(runs, curves, layers, params),
                     e2.claim_effects(runs, params), e2.numbers(runs, params))
    names = sorted(path.name for path in (folder / "gpt2").glob("*/")) if items is None else items
    if names:
        measured = e3.measure(*gpt2_tables([folder / "gpt2" / name for name in names]))
        tables = e3.tables(measured, params)
        analysis.add("gpt2", tables, e3.claim_effects(measured, params), e3.numbers(tables, params))
    return analysis


def mlp_tables(folder: Path, params: AnalyzeParams) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Outcomes, curves and layers of E1 or E2, as its stage or as `keep` wrote them."""
    if (folder / mlp.KEPT).is_file():
        curves, layers = (_read(folder / f"{name}.parquet") for name in MLP[1:])
        return mlp.judged(_read(folder / mlp.KEPT), params), curves, layers
    models, curves, layers = (_read(folder / f"{name}.parquet") for name in MLP)
    return mlp.outcomes(models, curves, params), curves, layers


def gpt2_tables(folders: list[Path]) -> tuple[Tables, list[RunJson]]:
    """The four tables of all runs, each in one, and every run's run.json."""
    tables = {name: pd.concat([_read(folder / f"{name}.parquet") for folder in folders], ignore_index=True)
              for name in GPT2}
    runs = [run_json.read(folder) for folder in folders]
    check_pooled(runs)
    return tables, runs


def check_pooled(runs: list[RunJson]) -> None:
    """Raises BadInput if seeds of one arm were trained with different knobs, or runs on different text."""
    first_of: dict[str, RunJson] = {}
    for run in runs:
        first = first_of.setdefault(run["arm"], run)
        for key in {**first, **run}:
            if key != "seed" and first.get(key) != run.get(key):
                raise _differs(key, first, run)
        if run.get(TEXT) != runs[0].get(TEXT):
            raise _differs(TEXT, runs[0], run)


def _differs(key: str, first: RunJson, other: RunJson) -> BadInput:
    (one, value), (two, another) = ((f"{run['arm']}-{run['seed']}", run.get(key)) for run in (first, other))
    return BadInput(f"run.json of {one} and {two}: {key} is {value!r:.60} and {another!r:.60}: "
                    "expected the same, or their statistics would be of no run")


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise BadInput(f"{path}: no such file: expected the tables of a finished run")
    return rows.read(path)
