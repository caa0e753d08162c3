"""Every figure of the study: analysis tables of one source -> PNG files. A new one is one entry here."""

from collections.abc import Callable
from pathlib import Path

from study.plotting import e1, e1_laws, e2, e3, e3_injected, e3_motion
from study.plotting.params import Settings
from study.plotting.style import Figures, Tables, look, main_first, save
from variance_dynamics.base.progress import progress

Draw = Callable[[Tables, Settings], Figures]
FIGURES: dict[str, Draw] = {  # by the table that is drawn
    "e1_loss": e1.loss_and_accuracy,
    "e1_layers": e1.signal_and_gradient,
    "e1_edges": e1.collapse,
    "e1_overlap": e1_laws.overlap,
    "e1_widths": e1_laws.scaling,
    "e2_layers": e2.signal_and_gradient,
    "e2_curves": e2.kaiming_and_xavier,
    "e2_threshold": e2.time_to_threshold,
    "e2_lr": e2.learning_rates,
    "e2_gap": e2.gap,
    "e3_std": e3.qkv_std,
    "e3_hist": e3.histogram,
    "e3_ratio": e3_injected.ratio,
    "e3_mechanism": e3_injected.mechanism,
    "e3_causes": e3_injected.causes,
    "e3_expansion": e3_motion.expansion,
    "e3_bands": e3_motion.bands,
    "e3_state": e3_motion.states,
    "e3_errors": e3_motion.forecast_errors,
    "e3_convergence": e3_motion.convergence,
    "e3_loss": e3.losses,
    "e3_acts": e3.residual_stream,
}


def draw_all(tables: Tables, folder: Path, settings: Settings) -> list[Path]:
    """Write every figure of one source under `folder`; the paths, in order. What was not run has no table."""
    written, tables = [], main_first(tables, settings)
    found = [draw for name, draw in FIGURES.items() if name in tables and len(tables[name])]
    with look():
        for draw in progress(found, desc="figures", unit="table"):
            for name, figure in draw(tables, settings):
                written.append(folder / f"{name}.png")
                save(figure, written[-1], settings.plot.dpi)
    return written
