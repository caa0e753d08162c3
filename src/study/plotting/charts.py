"""Every chart of the study, by the table that it draws. A new one is one entry here."""

from collections.abc import Callable

import pandas as pd

from study.plotting import e1, e2, e3, e3_motion
from study.plotting.grammar import Chart, Tables
from study.plotting.params import Settings

CHARTS: dict[str, Callable[[pd.DataFrame, Settings], Chart]] = {
    "e1_loss": e1.loss,
    "e1_layers": e1.layers,
    "e1_edges": e1.edges,
    "e1_widths": e1.widths,
    "e1_slopes": e1.slopes,
    "e1_overlap": e1.overlap,
    "e2_layers": e2.layers,
    "e2_curves": e2.curve,
    "e2_threshold": e2.threshold,
    "e2_lr": e2.learning_rates,
    "e2_gap": e2.gap,
    "e2_contrasts": e2.contrasts,
    "e3_std": e3.std,
    "e3_ratio": e3.ratio,
    "e3_final": e3.final,
    "e3_mechanism": e3.mechanism,
    "e3_causes": e3.causes,
    "e3_expansion": e3_motion.expansion,
    "e3_bands": e3_motion.bands,
    "e3_state": e3_motion.states,
    "e3_forecast": e3_motion.forecast,
    "e3_convergence": e3_motion.convergence,
    "e3_loss": e3.loss,
    "e3_acts": e3.residual,
    "e3_hist": e3.histogram,
}


def charts(tables: Tables, settings: Settings) -> dict[str, Chart]:
    """The charts that have something to show, by table. What was not run has no table."""
    tables = main_first(tables, settings)
    drawn = {name: draw(tables[name], settings) for name, draw in CHARTS.items()
             if name in tables and len(tables[name])}
    return {name: chart for name, chart in drawn.items() if len(chart.rows)}


def main_first(tables: Tables, settings: Settings) -> Tables:
    """The tables with the rows of the claims' arm before those of others, else in their order."""
    main = settings.analyze.e3.arm
    return {name: rows.sort_values("arm", key=lambda arms: arms != main, kind="stable") if "arm" in rows
            else rows for name, rows in tables.items()}
