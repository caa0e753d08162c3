"""The report's tables, and what its runs come from: params, versions, machines and commits."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import yaml

from study.base.provenance import versions
from study.plotting.grammar import Tables, interval_label, spoken
from study.plotting.params import Settings

TABLES: dict[str, tuple[str, str, dict[str, str], dict[str, str]]] = {
    "e1_depth_law": (
        "Exponent of the band's width in ln std over depth; theory's depth scale suggests −1",
        "",
        {"source": "run", "dataset": "data", "optimizer": "optimizer", "width": "width"},
        {"exponent": "exponent", "predicted": "predicted", "n": "seeds"}),
    "e3_earlier": (
        "What short runs of one seed had shown of R at the end (from, to), tested with seeds",
        "Exploratory. Confirmed: R's interval lies in that range; refuted: it misses it. R = c² × "
        "memory × persistence + along: what sets it names the parts that differ from white gradients' (1; "
        "along: 0). Growth is ln(std / initial std).",
        {"source": "run", "arm": "arm", "role": "matrix", "layers": "layers", "outcome": "outcome",
         "why": "what sets it"},
        {"earlier_lo": "from", "earlier_hi": "to", "R": "R", "growth": "growth", "n": "seeds"}),
    "e3_forecast": (
        "The final std, predicted: mean |ln error| of each way, and of the pilot minus the law",
        "Pilot: the law with R of the same layer and role in other arms and seeds. Below 0: it predicts "
        "the end better than the law alone. Floor: the mean of the same arm's other seeds.",
        {"source": "run", "arm": "arm", "roles": "matrices"},
        {"error_no_change": "no change", "error_law": "null law", "error_pilot": "pilot",
         "error_floor": "floor", "pilot_minus_law": "pilot − law", "n": "seeds"}),
    "e3_final": (
        "The arms against the null law: at the last step, mean over layers, std as measured and by the law, "
        "R, D and R / D", "R = 1: the law holds; R / D = 1: it does once the real update size is put in.",
        {"source": "run", "arm": "arm", "role": "matrix"},
        {"std": "std", "predicted": "null law", "R": "R", "D": "D", "R_over_D": "R / D", "n": "seeds"}),
}
"""Analysis table -> title, how to read it, columns of names and columns of numbers, with their headings.

The interval of the number NAME is in the columns NAME_lo and NAME_hi. The first number's may be in lo and hi.
"""


def tables_of(tables: Tables, experiment: str, settings: Settings) -> str:
    """The tables of one experiment, each folded under its title. What was not run has none."""
    return "".join(_folded(tables[name], *TABLES[name], settings) for name in TABLES
                   if name.startswith(experiment) and name in tables and len(tables[name]))


def _folded(rows: pd.DataFrame, title: str, about: str, names: dict[str, str], numbers: dict[str, str],
            settings: Settings) -> str:
    first = next(iter(numbers))
    rows = rows.rename(columns={"lo": f"{first}_lo", "hi": f"{first}_hi"})
    cells = [[*(f"<span class={name}>{escape(str(spoken(name, row[name])))}</span>" for name in names),
              *(_number(row, name) for name in numbers)] for row in rows.to_dict("records")]
    head = [*names.values(), *numbers.values()]
    return (f"<details><summary>{escape(title)}</summary>"
            f"<p class=quiet>{escape(about)} {interval_label(rows.n, settings, 'Brackets')}.</p>"
            f"<div class=wide>{table(head, cells, len(names))}</div></details>")


def _number(row: dict[Any, Any], name: str) -> str:
    if f"{name}_lo" not in row:
        return number(row[name])
    return interval(row[name], row[f"{name}_lo"], row[f"{name}_hi"])


def table(head: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> str:
    """A table of cells that are HTML already; all columns but the first `names` hold numbers."""
    kind = ["" if index < names else " class=number" for index in range(len(head))]
    top = "".join(f"<th{each}>{name}</th>" for each, name in zip(kind, head, strict=True))
    lines = "".join(f"<tr>{_cells(kind, row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"


def _cells(kind: Sequence[str], row: Sequence[str]) -> str:
    return "".join(f"<td{each}>{cell}</td>" for each, cell in zip(kind, row, strict=True))


def interval(mean: Any, low: Any, high: Any) -> str:
    """`mean [low, high]`; a dash stands for a number that does not exist."""
    return f"{number(mean)} [{number(low)}, {number(high)}]"


def number(value: Any) -> str:
    """The value to three significant digits, or a dash for None and what is not finite."""
    if value is None or not np.isfinite(value):
        return "–"
    digits = f"{value:.3g}"
    return (f"{float(digits):,.0f}" if abs(value) >= 1000 else digits).replace("-", "−")


def recipes(rows: pd.DataFrame | None) -> str:
    """The table of recipes (source model part quantity value lo hi basis), if the analysis made one."""
    if rows is None or not len(rows):
        return ""
    names = ["source", "model", "part", "quantity"]
    head = "".join(f"<th>{name}</th>" for name in ["run", *names[1:], "value [range]", "stands on"])
    lines = ""
    for row in rows.to_dict("records"):
        ends = "" if np.isnan(row["lo"]) else f" [{number(row['lo'])}, {number(row['hi'])}]"
        cells = [*(row[name] for name in names), number(row["value"]) + ends, row["basis"]]
        labels = ["run", *names[1:], "value", "stands on"]
        lines += "<tr>" + "".join(f'<td data-label="{label}">{escape(str(cell))}</td>'
                                  for label, cell in zip(labels, cells, strict=True)) + "</tr>"
    return ('<section id="recipes"><h2>Recipes</h2><p>Each line says which measurement it stands on.</p>'
            f"<div class=wide><table class=cards><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
            "</div></section>")


def reproduction(params: Mapping[str, Any], recorded: Mapping[str, Mapping[str, Any]]) -> str:
    """The exact params and versions of this run and of the recorded ones (see stage `analyze`'s origin)."""
    others = "".join(_recorded(name, origin) for name, origin in recorded.items() if origin)
    return ('<section id="params"><h2>Params and versions</h2>'
            f"<p>{_listed(versions())}.</p>{_params('this run', params)}{others}</section>")


def _recorded(name: str, origin: Mapping[str, Any]) -> str:
    machines = "; ".join(map(_machine, origin["machines"]))
    missing = f"; missing: {', '.join(origin['missing'])}" if origin["missing"] else ""
    text = (f"Recorded on {origin['recorded']['date']}: {origin['parts']} parts in "
            f"{origin['wall_seconds'] / 3600:.1f} hours on {machines}{missing}. "
            f"Code: {', '.join(origin['commits'])}. {_listed(origin['versions'])}.")
    return f"<h3>{escape(name)}</h3><p>{escape(text)}</p>{_params(name, origin['params'])}"


def _machine(machine: Mapping[str, Any]) -> str:
    gpu = f"{machine['gpu']}, " if "gpu" in machine else ""
    processor = f"{machine['cpu']}, {machine['cores']} cores"
    return f"{gpu}{processor}, {machine['memory_gib']} GiB, {machine['system']}"


def _listed(versions: Mapping[str, str]) -> str:
    return escape(", ".join(f"{name} {version}" for name, version in versions.items()))


def _params(name: str, params: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(dict(params), sort_keys=False, allow_unicode=True)
    return f"<details><summary>Every param of {escape(name)}</summary><pre>{escape(text)}</pre></details>"
