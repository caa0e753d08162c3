"""Analysis tables made of formulas, for figures, rows and the report without a run."""

import pandas as pd

from imports import ROOT
from plotting import synthetic_e1, synthetic_e2, synthetic_e3
from study.analysis.params import AnalyzeParams
from study.base import params
from study.plotting.params import PlotParams, Settings

ARMS = ("gpt2", "std_005", "std_1", "wd_0", "wd_1", "constant_lr", "kaiming", "small_init")


def settings(stds=3):
    """Those of params.yaml, at a low resolution."""
    tree = params.read(ROOT / "params.yaml")
    return Settings(PlotParams(dpi=60, representative_std_count=stds),
                    params.section(tree, "analyze", AnalyzeParams))


def study(sources=("local", "full-cpu")):
    """Eight arms and three data sets from each source, as a full study and a recorded one have."""
    runs = [tables(ARMS, ("wine", "digits", "mnist"), source) for source in sources]
    return {name: pd.concat([run[name] for run in runs], ignore_index=True) for name in runs[0]}


def tables(arms=("gpt2",), datasets=("wine", "digits"), source="local", n=5):
    """Every table that `analyze` writes, for one source."""
    made = {make.__name__: make(datasets, n) for make in (*synthetic_e1.TABLES, *synthetic_e2.TABLES)}
    made |= {make.__name__: make(arms, n) for make in synthetic_e3.TABLES}
    for frame in made.values():
        frame.insert(0, "source", source)
    return made


def small(**options):
    """Wine at two depths: every kind of figure, quickly drawn."""
    made = tables(datasets=("wine",), **options)
    return {name: rows[rows.depth.isin([2, 8, 3, 9, 20])] if "depth" in rows else rows
            for name, rows in made.items()}
