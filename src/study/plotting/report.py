"""plots/report.html: verdicts, figures, recipes, params and versions on one page that needs no network."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.analysis.params import LOCAL
from study.plotting.charts import charts
from study.plotting.grammar import Chart, Spec, Tables, choice, chosen, click, facet_of, in_words
from study.plotting.page import compressed, data_element, libraries, page, to_json
from study.plotting.params import Settings
from study.plotting.report_tables import interval, number, recipes, reproduction, table, tables_of

EXPERIMENTS = {
    "e1": "E1: which initial std trains a ReLU MLP",
    "e2": "E2: Kaiming, Xavier and others",
    "e3": "E3: the weights of GPT-2 while it learns",
}
INTRODUCTION = """A study of Y. Han, <i>Weight Initialization and Variance Dynamics in Deep Neural Networks
and Large Language Models</i> (arXiv 2510.09423): what theory said before training, what was measured, what
follows. The unit of replication is the seed: intervals are over seeds, and each figure says how many."""
HOW_TO = """Lists above a figure choose what it shows, hovering tells the numbers, and clicks on entries of
its legend single them out or hide them."""


def write(path: Path, tables: Tables, detail: Mapping[str, Any], params: Mapping[str, Any],
          settings: Settings) -> None:
    """Write the report of all sources in `tables`; `detail` is metrics/claims_detail.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(body(tables, detail, params, settings), compressed(libraries())), encoding="utf-8")


def body(tables: Tables, detail: Mapping[str, Any], params: Mapping[str, Any], settings: Settings) -> str:
    """Everything that depends on the run, as HTML."""
    drawn = charts(tables, settings)
    sections = [f'<section id="{name}"><h2>{title}</h2>{experiment(drawn, tables, name, settings)}</section>'
                for name, title in EXPERIMENTS.items()]
    links = {"claims": "Claims", **{name: name.upper() for name in EXPERIMENTS},
             **({"recipes": "Recipes"} if "recipes" in tables else {}), "params": "Params"}
    anchors = "".join(f'<a href="#{name}">{label}</a>' for name, label in links.items())
    return "\n".join(["<header><h1>Variance dynamics: expected, measured, concluded</h1>",
                      f"<p>{INTRODUCTION}</p><p class=quiet>{HOW_TO}</p><nav>{anchors}</nav></header><main>",
                      claims(detail), *sections,
                      recipes(tables.get("recipes")), reproduction(params, detail["recorded"]), "</main>"])


def experiment(drawn: Mapping[str, Chart], tables: Tables, name: str, settings: Settings) -> str:
    """Charts and tables of one experiment, as HTML; what was not run has none."""
    figures = "".join(figure(table, chart) for table, chart in drawn.items() if table.startswith(name))
    return (figures + tables_of(tables, name, settings)) or "<p class=quiet>Not run.</p>"


def claims(detail: Mapping[str, Any]) -> str:
    """The table of claims: a verdict for each run, the rule and its cells below."""
    head = "".join(f"<th{' class=number' if name in ('Effect', 'Seeds') else ''}>{name}</th>"
                   for name in ("Claim", "Run", "Verdict", "Effect", "Seeds"))
    rows = "".join(_claim(name, claim) for name, claim in detail["claims"].items())
    return ('<section id="claims"><h2>Claims and verdicts</h2><p>Rules were fixed before looking, and '
            "where one changed after, its note says so. Verdicts follow from the data alone. Inconclusive "
            "means that a study of this size cannot tell.</p>"
            f"<p class=quiet>{escape(detail['rule_of_all'])}</p><div class=wide><table class=cards>"
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>")


def _claim(name: str, claim: Mapping[str, Any]) -> str:
    sources = dict(sorted(claim["sources"].items(), key=lambda item: (item[0] != LOCAL, item[0])))
    notes = "".join(f"<p class=quiet>{escape(source)}: {escape(verdict['note'])}</p>"
                    for source, verdict in sources.items() if verdict["note"])
    cells = "".join(_cells(source, verdict["cells"]) for source, verdict in sources.items()
                    if verdict["cells"])
    text = {key: escape(str(claim[key])) for key in ("sentence", "origin", "effect", "rule")}
    about = (f"<td rowspan={len(sources)}>{text['sentence']} <span class=quiet>({text['origin']}; "
             f"{escape(name)})</span><p class=quiet>Effect: {text['effect']}.</p>"
             "<details><summary>Rule and cells</summary>"
             f"<p>{text['rule']}</p>{notes}{cells}</details></td>")
    lines = [_verdict(source, verdict) for source, verdict in sources.items()]
    return "".join(f"<tr>{'' if index else about}{line}</tr>" for index, line in enumerate(lines))


def _verdict(source: str, claim: Mapping[str, Any]) -> str:
    verdict = escape(str(claim["verdict"]))
    effect = interval(claim["effect"], claim["ci_low"], claim["ci_high"])
    return (f'<td data-label="run">{escape(source)}</td>'
            f'<td class="verdict {verdict.replace(" ", "-")}">{verdict}</td>'
            f'<td class=number data-label="effect">{effect}</td>'
            f'<td class=number data-label="seeds">{claim["n"]}</td>')


def _cells(source: str, cells: Mapping[str, Any]) -> str:
    lines = [(escape(name), interval(cell["effect"], cell["lo"], cell["hi"]), str(cell["n"]),
              number(cell["p_holm"])) for name, cell in cells.items()]
    return table([f"{escape(source)}: cell", "Effect", "Seeds", "p (Holm)"], lines)


def figure(name: str, chart: Chart) -> str:
    """A chart's place in the page and its data."""
    content = {"spec": {"description": chart.title, **interactive(chart)}, "columns": chart.columns,
               "data": compressed(to_json(packed(in_words(chart.rows))))}
    return (f"<figure><h3>{escape(chart.title)}</h3><figcaption>{escape(chart.caption)}</figcaption>"
            f'<div class="chart" data-chart="data-{name}"></div>'
            f"{data_element(f'data-{name}', content)}</figure>")


def interactive(chart: Chart) -> Spec:
    """The chart with a drop-down list for each field of several values; the page adds data and sizes.

    Each list starts with a value that occurs together with the first values of the lists before it, so that
    every chart shows something before the reader chooses.
    """
    lists, rest = [], chart.rows
    for name in chart.lists:
        options = chart.rows[name].value_counts().index if name == "dataset" else chart.rows[name].unique()
        first = next(option for option in options if (rest[name] == option).any())
        rest = rest[rest[name] == first]
        if len(options) > 1:
            lists.append(choice(name, list(options), first))
    asked = [name for name in chart.lists if chart.rows[name].nunique() > 1]
    body: Spec = {"height": chart.height, "layer": chart.layers}
    if chart.facet is not None:
        order = chart.order or list(chart.rows[chart.facet].unique())
        body = {"facet": facet_of(chart.facet, order, heading=chart.heading), "spec": body}
        if chart.independent:
            body["resolve"] = {"scale": dict.fromkeys(chart.independent, "independent")}
    return {"params": [*lists, click()], "transform": [chosen(name) for name in asked], **body}


def packed(rows: pd.DataFrame) -> dict[str, Any]:
    """Columns as lists, floats to four digits, null where not finite; names as {words, index}."""
    return {str(name): _column(rows[name]) for name in rows}


def _column(values: "pd.Series[Any]") -> Any:
    if values.dtype.kind in "biu":
        return values.tolist()
    if values.dtype.kind == "f":
        return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values.tolist()]
    codes, words = pd.factorize(values)
    return {"words": [str(word) for word in words], "index": codes.tolist()}
