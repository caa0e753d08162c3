"""The figures' common look: colours that colour-blind readers tell apart, axes, legends, stable bytes."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from study.plotting.palette import reduced
from study.plotting.params import Settings

Tables = Mapping[str, pd.DataFrame]
"""Analysis tables of one source, by name."""
Figures = Iterator[tuple[str, Figure]]
"""File stem and figure, one at a time."""

WIDTH = 7.2  # inches, two columns of a paper
INK = "#222222"
MEASURED = "#0072B2"
PREDICTED: dict[str, Any] = {"color": INK, "linestyle": (0, (4, 2)), "linewidth": 1.1}
# Okabe and Ito's palette, the light yellow left out.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK, "#8C8C8C")
SCHEMES = dict(zip(("kaiming", "xavier", "lecun", "torch_default", "orthogonal", "xavier_sqrt2"), PALETTE,
                   strict=False))
ROLES = dict(zip(("q", "k", "v", "attn_out", "mlp_in", "mlp_out"), PALETTE, strict=False))
REGIMES = {"vanishing": "#D3E3F1", "stalled": "#E4E4E4", "trains": "#FFFFFF", "exploding": "#FBD9BF"}
WORDS = {"sgd": "SGD", "adamw": "AdamW", "momentum": "SGD with momentum", "q": "Q", "k": "K", "v": "V",
         "torch_default": "PyTorch default", "xavier_sqrt2": "Xavier × √2", "wine": "Wine", "mnist": "MNIST",
         "kaiming": "Kaiming", "xavier": "Xavier", "lecun": "LeCun", "attn_out": "attention out",
         "mlp_in": "MLP in", "mlp_out": "MLP out", "train_loss": "training loss",
         "val_loss": "validation loss", "val_accuracy": "validation accuracy", "qkv": "Q, K, V",
         "block": "all block matrices"}
LOOK: dict[Any, Any] = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7.5, "figure.titlesize": 9,
    "xtick.labelsize": 7.5, "ytick.labelsize": 7.5, "font.family": "DejaVu Sans", "axes.spines.top": False,
    "axes.spines.right": False, "axes.linewidth": 0.6, "axes.edgecolor": INK, "text.color": INK,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4, "ytick.minor.width": 0.4,
    "legend.frameon": False, "figure.constrained_layout.h_pad": 0.05, "figure.constrained_layout.w_pad": 0.05,
    "axes.formatter.limits": (-3, 4), "axes.formatter.use_mathtext": True, "lines.linewidth": 1.3,
}


def main_first(tables: Tables, settings: Settings) -> Tables:
    """The tables with the rows of the claims' arm before those of others, else in their order."""
    main = settings.analyze.e3.arm
    return {name: rows.sort_values("arm", key=lambda arms: arms != main, kind="stable") if "arm" in rows
            else rows for name, rows in tables.items()}


def word(name: object) -> str:
    """A name as a reader writes it."""
    return WORDS.get(str(name), str(name).replace("_", " "))


def new_figure(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, Any]:
    """A figure two paper columns wide and its axes [rows, columns]."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def save(figure: Figure, path: Path, dpi: int) -> None:
    """A PNG of at most 256 colours (a third of the size) and stable bytes: no date, no version."""
    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    path.parent.mkdir(parents=True, exist_ok=True)
    reduced(np.asarray(canvas.buffer_rgba())[..., :3]).save(path, optimize=True, dpi=(dpi, dpi))


def look() -> Any:
    """Context in which figures are made and saved."""
    return matplotlib.rc_context(LOOK)


def band(axes: Axes, x: Any, y: Any, lo: Any, hi: Any, alpha: float = 0.22, **options: Any) -> None:
    """A line with its interval over seeds; where there is none (one seed), the line alone."""
    (line,) = axes.plot(x, y, **options)
    axes.fill_between(np.asarray(x, dtype=float), np.asarray(lo, dtype=float), np.asarray(hi, dtype=float),
                      color=line.get_color(), alpha=alpha, linewidth=0, zorder=line.get_zorder() - 0.5)


def seeds(n: Iterable[int]) -> str:
    """Number of seeds as a legend says it, e.g. `3 seeds` or `3-5 seeds`."""
    counts = sorted({int(count) for count in n})
    low, high = (counts[0], counts[-1]) if counts else (0, 0)
    return f"{low} seed{'s' * (low != 1)}" if low == high else f"{low}–{high} seeds"


def interval_label(n: Iterable[int], settings: Settings, what: str = "band") -> str:
    """What a band means, with the number of seeds behind it."""
    counts, share = list(n), f"{100 * settings.analyze.confidence:g}"
    return ("one seed: no interval" if set(counts) <= {0, 1}
            else f"{what}: {share}% interval over {seeds(counts)}")


def interval_patch(n: Iterable[int], settings: Settings) -> Patch:
    return Patch(facecolor=INK, alpha=0.22, linewidth=0, label=interval_label(n, settings))


def line(label: str, **options: Any) -> Line2D:
    return Line2D([], [], label=label, **options)


def legend(figure: Figure, handles: Sequence[Artist], columns: int) -> None:
    """One legend below all panels."""
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, handlelength=2.2,
                  columnspacing=1.6)


def log_axis(axes: Axes, which: str = "x", minor: bool = False) -> None:
    """Log scale with at most six labelled decades; minor ticks (slow to draw) only where decades are few."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set_xscale("log") if which == "x" else axes.set_yscale("log")
    axis.set_major_locator(LogLocator(numticks=6))
    axis.set_minor_formatter(NullFormatter())
    if not minor:
        axis.set_minor_locator(NullLocator())


def categorical(known: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """A colour for each name: its own if it has one, else the next that is free (then all over again)."""
    names = list(names)
    taken = [known[name] for name in names if name in known]
    free = itertools.cycle([colour for colour in PALETTE if colour not in taken] or PALETTE)
    return {name: known[name] if name in known else next(free) for name in names}


def sequential() -> Colormap:
    """Viridis without its palest yellow, which is lost on white."""
    viridis = matplotlib.colormaps["viridis"]
    return LinearSegmentedColormap.from_list("depth", viridis(np.linspace(0.0, 0.9, 256)))


def ordered(values: Sequence[Any]) -> dict[Any, Any]:
    """A sequential colour for each of the values, in their order."""
    colours, last = sequential(), max(len(values) - 1, 1)
    return {value: colours(index / last) for index, value in enumerate(values)}


def spans(points: Sequence[float], labels: Sequence[str]) -> Iterator[tuple[float, float, str]]:
    """Runs of equal labels over ascending points: (from, to, label), borders at geometric midpoints."""
    borders = [points[0], *(float(np.sqrt(a * b)) for a, b in itertools.pairwise(points)), points[-1]]
    start = 0
    for index in range(1, len(points) + 1):
        if index == len(points) or labels[index] != labels[start]:
            yield borders[start], borders[index], labels[start]
            start = index
