"""Every chart of the report: a table of all sources -> a Vega-Lite chart. A new one is one entry here."""

from collections.abc import Callable

import pandas as pd

from study.plotting import report_e1, report_e2, report_e3, report_e3_motion
from study.plotting.params import Settings
from study.plotting.vega import Chart

CHARTS: dict[str, Callable[[pd.DataFrame, Settings], Chart]] = {  # by the table that is drawn
    "e1_loss": report_e1.sweep,
    "e1_layers": report_e1.per_layer,
    "e1_edges": report_e1.edges,
    "e1_slopes": report_e1.slopes,
    "e1_widths": report_e1.widths,
    "e1_overlap": report_e1.overlap,
    "e2_layers": report_e2.scheme_layers,
    "e2_curves": report_e2.scheme_curves,
    "e2_threshold": report_e2.threshold,
    "e2_lr": report_e2.learning_rates,
    "e2_gap": report_e2.gap,
    "e2_contrasts": report_e2.contrasts,
    "e3_std": report_e3.std_through_training,
    "e3_ratio": report_e3.injected,
    "e3_mechanism": report_e3.mechanism,
    "e3_causes": report_e3.causes,
    "e3_expansion": report_e3_motion.expansion,
    "e3_bands": report_e3_motion.bands,
    "e3_state": report_e3_motion.states,
    "e3_errors": report_e3_motion.forecast_errors,
    "e3_convergence": report_e3_motion.convergence,
    "e3_hist": report_e3.histogram,
    "e3_loss": report_e3.losses,
    "e3_acts": report_e3.residual,
}
