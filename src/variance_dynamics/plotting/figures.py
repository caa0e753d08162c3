"""Every figure of the study: analysis tables of one source -> PNG files. A new figure is one entry here."""

from collections.abc import Callable
from pathlib import Path

from variance_dynamics.plotting import e1, e2, e3
from variance_dynamics.plotting.params import PlotParams
from variance_dynamics.plotting.style import Figures, Tables, look, save
from variance_dynamics.progress import progress

Draw = Callable[[Tables, PlotParams], Figures]
FIGURES: dict[str, Draw] = {
    "E1 loss and accuracy against std": e1.loss_and_accuracy,
    "E1 signal and gradient per layer": e1.signal_and_gradient,
    "E1 collapse of the band edges": e1.collapse,
    "E2 Kaiming and Xavier": e2.kaiming_and_xavier,
    "E2 time to threshold": e2.time_to_threshold,
    "E2 gap against depth": e2.gap,
    "E3 std of Q, K and V": e3.qkv_std,
    "E3 weights of one layer": e3.histogram,
    "E3 R and R/D": e3.ratio,
    "E3 loss": e3.losses,
    "E3 residual stream": e3.residual_stream,
}


def draw_all(tables: Tables, folder: Path, plot: PlotParams) -> list[Path]:
    """Write every figure of one source under `folder`; the paths, in order."""
    written = []
    with look():
        for draw in progress(list(FIGURES.values()), desc="figures", unit="figure"):
            for name, figure in draw(tables, plot):
                written.append(folder / f"{name}.png")
                save(figure, written[-1], plot.dpi)
    return written
