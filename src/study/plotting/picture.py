"""PNGs of charts: panels side by side and below one another instead of drop-down lists."""

import io
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from study.plotting.charts import charts
from study.plotting.grammar import (
    INK,
    LABELS,
    Chart,
    Picture,
    Spec,
    Tables,
    click,
    facet_of,
    in_words,
    spoken,
    word,
)
from study.plotting.params import Settings
from variance_dynamics.base.progress import progress

WIDTH, SPACING = 860, 18  # pixels of the picture, and between panels
LETTERS = 142  # in a line of text below the title
MORE = "more"  # the folder that dvc.yaml declares as plots
COLOURS = 128  # at most 256, what one byte tells apart
LOOK: Spec = {
    "font": "DejaVu Sans", "background": "white", "view": {"stroke": "#dddddd"}, "padding": 8,
    "title": {"fontSize": 15, "subtitleFontSize": 11.5, "subtitleLineHeight": 15, "subtitleColor": "#444444",
              "anchor": "start", "frame": "bounds", "color": INK, "subtitlePadding": 5, "offset": 10},
    "axis": {"grid": False, "labelFontSize": 11, "titleFontSize": 11.5, "titleFontWeight": "normal"},
    "header": {"labelFontSize": 11.5, "titleFontSize": 11.5, "titleFontWeight": "normal"},
    "legend": {"orient": "bottom", "symbolOpacity": 1, "symbolStrokeWidth": 2, "labelFontSize": 11.5,
               "titleFontSize": 11.5, "titleFontWeight": "normal", "labelLimit": 0, "titleLimit": 0,
               "columnPadding": 16, "layout": {"bottom": {"anchor": "start", "direction": "vertical"}}},
    "concat": {"spacing": 12}, "facet": {"spacing": SPACING},
}


def draw_all(tables: Tables, folder: Path, settings: Settings) -> list[Path]:
    """Write every picture of one source's tables under `folder`, and return the paths in order.

    Pictures of charts that `dvc plots` does not draw lie in `folder`/more, which it shows as images.
    """
    written = []
    for name, chart in progress(list(charts(tables, settings).items()), desc="figures", unit="table"):
        home = folder / MORE if chart.comparison is None else folder
        home.mkdir(parents=True, exist_ok=True)
        for stem, spec in pictures(name, chart):
            written.append(home / f"{stem}.png")
            written[-1].write_bytes(png(spec, settings.plot.dpi))
    return written


def pictures(name: str, chart: Chart) -> Iterator[tuple[str, Spec]]:
    """File stem and specification of each picture of a chart. A chart without `picture` has none."""
    if chart.picture is None:
        return
    rows = chart.rows
    for column, values in chart.picture.only.items():
        rows = rows[rows[column].isin(values)]
    if chart.picture.files is None:
        yield name, picture(chart, chart.picture, rows, chart.title)
        return
    for value, part in rows.groupby(chart.picture.files, sort=False):
        yield f"{name}_{value}", picture(chart, chart.picture, part, f"{chart.title} ({word(value)})")


def picture(chart: Chart, plan: Picture, rows: pd.DataFrame, title: str) -> Spec:
    """The whole picture of the rows that it may show. Its text says which value of each list is shown."""
    across, fixed = plan.across or chart.facet, []
    for name in chart.lists:
        if name not in ("source", plan.files, plan.down, across):
            first = rows[name].iloc[0]
            rows = rows[rows[name] == first]
            if plan.named:
                label = "" if name == "show" else f"{LABELS.get(name, name)}: "
                fixed.append(f"{label}{spoken(name, first)}")
    text = f"{', '.join(fixed)}. " if fixed else ""
    lines = textwrap.wrap(text[:1].upper() + text[1:] + chart.caption, LETTERS)
    values = list(rows[plan.down].unique()) if plan.down else [None]
    parts = [_panels(chart, plan, across, rows, value) for value in values]
    return {"title": {"text": title, "subtitle": lines}, "config": LOOK, "params": [click(asked=False)],
            "data": {"values": records(rows)}, **({"vconcat": parts} if len(parts) > 1 else parts[0])}


def _panels(chart: Chart, plan: Picture, across: str | None, rows: pd.DataFrame, value: Any) -> Spec:
    """The panels side by side for one value of the list `down` (None: there is no such list)."""
    only: Spec = {}
    if plan.down and value is not None:
        rows, said = rows[rows[plan.down] == value], spoken(plan.down, value)
        only = {"transform": [{"filter": {"field": plan.down, "equal": said}}],
                "title": {"text": str(said), "fontSize": 12.5, "offset": 4, "frame": "group"}}
    layers = [_without_absent(layer, rows) for layer in chart.layers
              if layer["encoding"].get("opacity") != {"value": 0}]
    body: Spec = {"height": plan.height or chart.height, "layer": layers}
    if across is None:
        return {**only, **body, "width": WIDTH - plan.margin}
    count = rows[across].nunique()
    columns = _side_by_side(count, plan.columns or chart.columns)
    apart = {*chart.independent, *({"y"} if plan.across == "show" else ())}
    beside = plan.margin if "y" in apart else SPACING
    body["width"] = round((WIDTH - plan.margin - beside * (columns - 1)) / columns)
    order = chart.order if across == chart.facet and chart.order else list(rows[across].unique())
    heading = chart.heading if across == chart.facet else ""
    resolve: Spec = {"scale": dict.fromkeys(sorted(apart), "independent")}
    if count % columns:
        resolve["axis"] = {"x": "independent"}  # else an axis stands below no panel
    return {**only, "facet": facet_of(across, order, heading=heading), "columns": columns, "spec": body,
            "resolve": resolve}


def _without_absent(layer: Spec, rows: pd.DataFrame) -> Spec:
    """The layer with a legend of the colours that the rows have; each keeps its colour in every picture."""
    colour = layer["encoding"].get("color", {})
    if "domain" not in colour.get("scale", {}):
        return layer
    there = set(in_words(rows[[colour["field"]]])[colour["field"]])
    legend = {"values": [value for value in colour["scale"]["domain"] if value in there]}
    return layer | {"encoding": layer["encoding"] | {"color": colour | {"legend": legend}}}


def _side_by_side(count: int, most: int) -> int:
    """How many of `count` panels stand side by side: as many, from two on, as fill all lines."""
    full = [columns for columns in range(min(count, most), 1, -1) if count % columns == 0]
    return full[0] if full else min(count, most)


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows in words for JSON, floats with five digits (more than a screen shows), null if not finite."""
    columns = [[_plain(value) for value in column.tolist()] for _, column in in_words(rows).items()]
    names = [str(name) for name in rows]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _plain(value: object) -> object:
    return (float(f"{value:.5g}") if np.isfinite(value) else None) if isinstance(value, float) else value


def png(spec: Spec, dpi: int) -> bytes:
    """The picture's bytes. The same specification gives the same bytes: no date, no font of the machine."""
    import vl_convert  # 20 MB of native code: loaded only where something is drawn

    _use_our_font()
    raw = vl_convert.vegalite_to_png(spec, scale=dpi / 96)
    packed = io.BytesIO()
    with Image.open(io.BytesIO(raw)) as drawn:  # vl-convert hardly compresses
        reduced(np.asarray(drawn.convert("RGB"))).save(packed, "PNG", optimize=True)
    return packed.getvalue()


@cache
def _use_our_font() -> None:
    """Register the DejaVu Sans that matplotlib carries: a machine may have none, or another version."""
    import vl_convert

    package = find_spec("matplotlib")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("matplotlib is not installed: the figures are written in its font")
    vl_convert.register_font_directory(str(Path(package.origin).parent / "mpl-data" / "fonts" / "ttf"))


def reduced(pixels: NDArray[np.uint8]) -> Image.Image:
    """The picture [height, width, 3] in the COLOURS of its colours that leave no common one far away.

    That halves the bytes. The method is greedy k-centres, weighted by the root of a colour's count. So a thin
    line in a legend and a pale band both keep their hue, which Pillow's own quantisers would blend.
    """
    codes = (pixels.astype(np.int64) << [16, 8, 0]).sum(axis=-1)
    distinct, where, counts = np.unique(codes, return_inverse=True, return_counts=True)
    colours, weight = (distinct[:, None] >> [16, 8, 0]) & 255, np.sqrt(counts)
    distance = np.full(len(distinct), np.iinfo(np.int64).max)
    nearest = np.zeros(len(distinct), dtype=np.uint8)
    palette = [int(counts.argmax())]
    for place in range(min(COLOURS, len(distinct))):
        squares = ((colours - colours[palette[place]]) ** 2).sum(axis=1)
        nearest[squares < distance] = place
        distance = np.minimum(distance, squares)
        palette.append(int((distance * weight).argmax()))
    image = Image.fromarray(nearest[where].reshape(pixels.shape[:2]))
    image.putpalette(colours[palette[:COLOURS]].astype(np.uint8).tobytes())
    return image
