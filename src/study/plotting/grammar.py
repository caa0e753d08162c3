"""What charts are made of: words, colours, axes and layers of Vega-Lite, and the class Chart.

Names that come from data stay values in a specification; no expression holds one.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from study.plotting.params import Settings

Spec = dict[str, Any]
Tables = Mapping[str, pd.DataFrame]
"""Analysis tables by name."""

INK, GREY, PALE = "#222222", "#8C8C8C", "#BBBBBB"
# Okabe and Ito's palette, which colour-blind readers tell apart, without the light yellow.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK, GREY)
NAMED = dict(zip(("kaiming", "xavier", "lecun", "torch_default", "orthogonal", "xavier_sqrt2"), PALETTE,
                 strict=False)) | dict(zip(("q", "k", "v", "attn_out", "mlp_in", "mlp_out"), PALETTE,
                                           strict=False))
"""Colours that schemes and matrices have in every chart."""
NEAR = ("#D55E00", "#CC79A7")  # layers 1 and 2, which behave unlike the others
FAR = ((158, 202, 225), (8, 48, 107))  # from layer 3 to the last, pale to dark blue
VIRIDIS = {"name": "viridis", "extent": [0, 0.9]}  # without the palest yellow, which is lost on white
WORDS = {"sgd": "SGD", "adamw": "AdamW", "momentum": "SGD with momentum", "q": "Q", "k": "K", "v": "V",
         "torch_default": "PyTorch default", "xavier_sqrt2": "Xavier × √2", "wine": "Wine", "mnist": "MNIST",
         "kaiming": "Kaiming", "xavier": "Xavier", "lecun": "LeCun", "attn_out": "attention out",
         "mlp_in": "MLP in", "mlp_out": "MLP out", "train_loss": "training loss",
         "val_loss": "validation loss", "val_accuracy": "validation accuracy", "qkv": "Q, K, V",
         "block": "all block matrices", "shared": "the same for all", "best": "each scheme's best"}
LABELS = {"source": "run", "dataset": "data", "lr_kind": "learning rate", "roles": "matrices",
          "role": "matrix"}
"""What a drop-down list calls its field, where that is not the field's own name."""
INTERVAL = {"lo": "from", "hi": "to", "n": "seeds"}
AS_THEY_ARE = ("source", "arm", "pair")
"""Fields of names that the reader chose; other names are put in words."""
DASHED, FAINT = [5, 3], 0.07
CLICK = {"show alone": "singles out", "hide": "hides"}


@dataclass(frozen=True)
class Picture:
    """How a chart becomes PNGs: one for each value of the list `files`, or a single one if that is None.

    The panels for the values of the list `down` stand below one another, and those for the values of `across`
    (by default the chart's facet) side by side. `only` maps a field to the values of it that are shown. Of
    every other list the first value is shown.
    """

    files: str | None = None
    down: str | None = None
    across: str | None = None
    only: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    columns: int | None = None
    height: int | Spec | None = None
    margin: int = 62  # pixels that the labels of the y axes take
    named: bool = True  # whether the text below the title starts with the values of the other lists


@dataclass(frozen=True)
class Comparison:
    """How `dvc plots` compares revisions: in one panel, by dash or shape, or `apart`, with a column for each.

    `rows` are what git keeps for it. Each combination of values of `lists` makes a line of panels. A
    drop-down list chooses one of the values of `menu`, which must be words of the study's own.
    """

    rows: pd.DataFrame
    about: str
    lists: tuple[str, ...] = ()
    menu: str | None = None
    apart: bool = False


@dataclass(frozen=True)
class Chart:
    """One chart, of which the PNG, the report's figure and the DVC template are made.

    Each panel of `facet` draws the `layers` from its part of `rows`, a long table with the names of the data.
    `lists` are the fields of which one value is shown at a time; in the report a drop-down list chooses it.
    """

    title: str
    caption: str
    rows: pd.DataFrame
    layers: list[Spec]
    lists: tuple[str, ...]
    facet: str | None = None
    heading: str = ""  # what stands before the facet's value above each panel
    order: Sequence[str] | None = None
    columns: int = 3
    height: int | Spec = 170
    independent: tuple[str, ...] = ()  # scales that are not shared by all panels
    picture: Picture | None = None
    comparison: Comparison | None = None


def word(name: object) -> str:
    """A name as a reader writes it."""
    return WORDS.get(str(name), str(name).replace("_", " "))


def spoken(name: str, value: Any) -> Any:
    """A value of the field `name` as the reader sees it; numbers are Python's own."""
    if isinstance(value, str):
        return value if name in AS_THEY_ARE else word(value)
    return value.item() if hasattr(value, "item") else value


def in_words(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their names as the reader sees them."""
    names = [name for name in rows if rows[name].dtype.kind not in "biuf" and name not in AS_THEY_ARE]
    words = {str(name): {value: spoken(str(name), value) for value in rows[name].unique()} for name in names}
    return rows.assign(**{name: rows[name].map(mapping) for name, mapping in words.items()})


def seeds(n: Iterable[int]) -> str:
    """The number of seeds, e.g. `3 seeds` or `3–5 seeds`."""
    counts = sorted({int(count) for count in n})
    low, high = (counts[0], counts[-1]) if counts else (0, 0)
    return f"{low} seed{'s' * (low != 1)}" if low == high else f"{low}–{high} seeds"


def interval_label(n: Iterable[int], settings: Settings, what: str = "Band") -> str:
    """What a band or bar means, with the number of seeds behind it."""
    counts, share = list(n), f"{100 * settings.analyze.confidence:g}"
    if set(counts) <= {0, 1}:
        return "One seed: no interval"
    return f"{what}: {share}% interval over {seeds(counts)}"


def facet_of(name: str, values: Sequence[Any] | None, heading: str = "") -> Spec:
    """A panel for each value of a field, in the order of `values` (numbers: ascending)."""
    spoken_values = [spoken(name, value) for value in values or ()]
    numbers = all(isinstance(value, int | float) for value in spoken_values)
    order = {"sort": spoken_values} if spoken_values and not numbers else {}
    header = {"header": {"labelExpr": f"'{heading}' + datum.value"}} if heading else {}
    return {"field": name, "type": "nominal", "title": None, **order, **header}


def long_form(rows: pd.DataFrame, shows: Mapping[str, str]) -> pd.DataFrame:
    """Columns NAME, NAME_lo, NAME_hi as rows of value, lo, hi, with what they `show` in words."""
    return pd.concat([rows.assign(show=label, value=rows[name], lo=rows[f"{name}_lo"], hi=rows[f"{name}_hi"])
                      for name, label in shows.items()])


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


def quantity(name: str, title: str | None = None, log: bool = False, zero: bool = False) -> Spec:
    """A numeric channel."""
    scale: Spec = {"type": "log", "nice": False} if log else {"zero": zero}
    axis = {"tickCount": 5, "labelOverlap": "greedy", **({"format": "~g"} if log else {})}
    return {"field": name, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def powers(name: str, title: str | None = None) -> Spec:
    """A numeric channel over many decades, labelled as 1e-3."""
    channel = quantity(name, title, log=True)
    return channel | {"axis": channel["axis"] | {"format": "~e"}}


def count(name: str, title: str) -> Spec:
    """An axis of layers, depths or widths: each number has its place."""
    axis = {"labelAngle": 0, "labelOverlap": "greedy", "labelSeparation": 3}
    return {"field": name, "type": "ordinal", "title": title, "axis": axis}


def category(name: str, title: str | None = None, **more: Any) -> Spec:
    """A channel of names, or of numbers that are few."""
    return {"field": name, "type": "nominal", "title": title, **more}


def depth_colour(rows: pd.DataFrame, name: str, title: str | None = None, in_sight: bool = False) -> Spec:
    """A sequential colour for each number of a column, or only for the numbers that are in sight."""
    domain = [] if in_sight else sorted({spoken(name, value) for value in rows[name]}, key=float)
    return {"field": name, "type": "ordinal", "title": title or name,
            "scale": {**({"domain": domain} if domain else {}), "scheme": VIRIDIS}}


def named_colour(rows: pd.DataFrame, name: str, title: str | None = None) -> Spec:
    """A colour for each name of a column: its own if it has one, else the next that is free, in turn."""
    names = list(rows[name].unique())
    taken = [NAMED[each] for each in names if each in NAMED]
    free = itertools.cycle([colour for colour in PALETTE if colour not in taken] or PALETTE)
    colours = [NAMED[each] if each in NAMED else next(free) for each in names]
    return category(name, title or name, scale={"domain": [spoken(name, each) for each in names],
                                                "range": colours})


def shapes(rows: pd.DataFrame, name: str, title: str, known: Mapping[str, str]) -> Spec:
    """A shape for each name in a column, from the `known` ones."""
    seen = {each: shape for each, shape in known.items() if each in set(rows[name])}
    return category(name, title, scale={"domain": list(seen), "range": list(seen.values())})


def layer_colours(count: int) -> list[str]:
    """Layers 1 and 2 in colours of their own, the others from pale to dark blue."""
    blues = [tuple(round(a + (b - a) * share) for a, b in zip(*FAR, strict=True))
             for share in np.linspace(0, 1, max(count - len(NEAR), 1))]
    return [*NEAR, *(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in blues)][:count]


def choice(name: str, options: Sequence[Any], at_first: Any) -> Spec:
    """A drop-down list whose choice is the parameter pick_NAME."""
    options = [spoken(name, option) for option in options]
    bind = {"input": "select", "options": options, "labels": [str(option) for option in options],
            "name": f"{LABELS.get(name, name)} "}
    return {"name": f"pick_{name}", "value": spoken(name, at_first), "bind": bind}


def chosen(name: str) -> Spec:
    """Keep the rows that a drop-down list chooses."""
    return {"filter": f"datum.{name} === pick_{name}"}


def click(asked: bool = True) -> Spec:
    """The parameter that says what a click on the legend does; if `asked`, a drop-down list chooses it."""
    bind = {"input": "select", "options": list(CLICK), "labels": list(CLICK.values()),
            "name": "click on the legend "}
    return {"name": "click", "value": next(iter(CLICK)), **({"bind": bind} if asked else {})}


def legend_pick(name: str) -> Spec:
    """The parameter that holds the picked entries of the legend: a click picks an entry, or drops it."""
    return {"name": "shown", "select": {"type": "point", "fields": [name], "toggle": "true"},
            "bind": "legend"}


def shown(opacity: float = 1.0) -> Spec:
    """Opacity by the picked entries: they stand alone before a faint rest, or they are hidden."""
    hides = "click === 'hide'"
    gone = {"and": [hides, {"param": "shown", "empty": False}]}
    there = {"or": [hides, {"param": "shown"}]}
    return {"condition": [{"test": gone, "value": 0}, {"test": there, "value": opacity}],
            "value": opacity * FAINT}


def tooltip(rows: pd.DataFrame, hints: Mapping[str, str]) -> list[Spec]:
    """What hovering shows: `hints` maps fields to their labels. Floats have four digits."""
    digits = {name: {"format": ".4~g"} for name in hints if rows[name].dtype.kind == "f"}
    return [{"field": name, "title": label, **digits.get(name, {})} for name, label in hints.items()]


def curves(x: Spec, y: Spec, colour: Spec, hover: list[Spec], points: bool = False,
           faint: float = 0.18) -> list[Spec]:
    """Layers of a mean line with its band (fields lo and hi), hover, and a legend that singles lines out."""
    common, ends = {"x": x, "color": colour}, {"y": {**y, "field": "lo"}, "y2": {"field": "hi"}}
    return [
        {"mark": {"type": "area"}, "encoding": {**common, **ends, "opacity": shown(faint)}},
        {"params": [legend_pick(colour["field"])], "mark": {"type": "line", "strokeWidth": 1.6},
         "encoding": {**common, "y": y, "opacity": shown()}},
        {"mark": {"type": "point", "filled": True, "size": 26 if points else 80},
         "encoding": {**common, "y": y, "tooltip": hover, "opacity": shown() if points else {"value": 0}}},
    ]


def dots(x: Spec, y: Spec, colour: Spec, hover: list[Spec], along: str = "y", **more: Any) -> list[Spec]:
    """Layers of points with their intervals (fields lo and hi) along y, or along x."""
    ends = {along: {**{"x": x, "y": y}[along], "field": "lo"}, f"{along}2": {"field": "hi"}}
    bare = {name: channel for name, channel in more.items() if name != "shape"}
    return [
        {"mark": {"type": "rule", "strokeWidth": 1.8},
         "encoding": {"x": x, "y": y, "color": colour, **bare, **ends, "opacity": shown()}},
        {"params": [legend_pick(colour["field"])], "mark": {"type": "point", "filled": True, "size": 45},
         "encoding": {"x": x, "color": colour, **more, "y": y, "tooltip": hover, "opacity": shown()}},
    ]


def dashed(x: Spec, y: Spec, colour: Spec | None = None, **more: Any) -> Spec:
    """A predicted line: dashed, in ink unless coloured."""
    mark = {"type": "line", "strokeDash": DASHED, "strokeWidth": 1.3}
    paint = {"color": colour, "opacity": shown()} if colour else {"color": {"value": INK}}
    return {"mark": mark, "encoding": {"x": x, "y": y, **paint, **more}}


def ticks(x: Spec, y: Spec, **more: Any) -> Spec:
    """Predicted values as short strokes in ink."""
    return {"mark": {"type": "tick", "thickness": 2, "size": 13},
            "encoding": {"x": x, "y": y, "color": {"value": INK}, **more}}


def level(value: float, along: str = "y", colour: str = INK) -> Spec:
    """A dashed line over the whole panel, at a value of y or of x; drawn once, not for each row."""
    return {"transform": [{"aggregate": [{"op": "count", "as": "rows"}]}],
            "mark": {"type": "rule", "strokeDash": DASHED},
            "encoding": {along: {"datum": value}, "color": {"value": colour}}}
