"""Every chart of the report: a table of all sources -> a Vega-Lite chart. A new one is one entry here."""

from collections.abc import Callable

import pandas as pd

from variance_dynamics.plotting import report_e1, report_e2, report_e3
from variance_dynamics.plotting.vega import Chart

CHARTS: dict[str, Callable[[pd.DataFrame], Chart]] = {  # by the table that is drawn
    "e1_loss": report_e1.sweep,
    "e1_layers": report_e1.per_layer,
    "e1_edges": report_e1.edges,
    "e2_curves": report_e2.scheme_curves,
    "e2_threshold": report_e2.threshold,
    "e2_lr": report_e2.learning_rates,
    "e2_gap": report_e2.gap,
    "e3_std": report_e3.std_through_training,
    "e3_ratio": report_e3.injected,
    "e3_expansion": report_e3.expansion,
    "e3_state": report_e3.states,
    "e3_errors": report_e3.forecast_errors,
    "e3_convergence": report_e3.convergence,
    "e3_hist": report_e3.histogram,
    "e3_loss": report_e3.losses,
    "e3_acts": report_e3.residual,
}
