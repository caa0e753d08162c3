"""plots/report.html: one page without a network: verdicts, figures, recipes, params and versions."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.analysis.params import LOCAL
from study.plotting.javascript import compressed, data_element, libraries, to_json
from study.plotting.params import Settings
from study.plotting.report_charts import CHARTS
from study.plotting.report_origins import reproduction
from study.plotting.report_page import page
from study.plotting.report_tables import interval, number, recipes, table, tables_of
from study.plotting.style import Tables, main_first
from study.plotting.vega import Chart

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
    tables = main_first(tables, settings)
    sections = [f'<section id="{name}"><h2>{title}</h2>{experiment(tables, name, settings)}</section>'
                for name, title in EXPERIMENTS.items()]
    links = {"claims": "Claims", **{name: name.upper() for name in EXPERIMENTS},
             **({"recipes": "Recipes"} if "recipes" in tables else {}), "params": "Params"}
    anchors = "".join(f'<a href="#{name}">{label}</a>' for name, label in links.items())
    return "\n".join(["<header><h1>Variance dynamics: expected, measured, concluded</h1>",
                      f"<p>{INTRODUCTION}</p><p class=quiet>{HOW_TO}</p><nav>{anchors}</nav></header><main>",
                      claims(detail), *sections,
                      recipes(tables.get("recipes")), reproduction(params, detail["recorded"]), "</main>"])


def experiment(tables: Tables, name: str, settings: Settings) -> str:
    """Charts and tables of one experiment, as HTML."""
    figures = "".join(figure(chart) for chart in charts(tables, name, settings))
    return (figures + tables_of(tables, name, settings)) or "<p class=quiet>Not run.</p>"


def charts(tables: Tables, experiment: str, settings: Settings) -> list[Chart]:
    """The charts of one experiment; what was not run has no table."""
    return [make(tables[name], settings) for name, make in CHARTS.items()
            if name.startswith(experiment) and name in tables and len(tables[name])]


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
    notes = "".join(f"<p class=quiet>{escape(source)}: {escape(found['note'])}</p>"
                    for source, found in sources.items() if found["note"])
    cells = "".join(_cells(source, found["cells"]) for source, found in sources.items() if found["cells"])
    told = {key: escape(str(claim[key])) for key in ("sentence", "origin", "effect", "rule")}
    about = (f"<td rowspan={len(sources)}>{told['sentence']} <span class=quiet>({told['origin']}; "
             f"{escape(name)})</span><p class=quiet>Effect: {told['effect']}.</p>"
             "<details><summary>Rule and cells</summary>"
             f"<p>{told['rule']}</p>{notes}{cells}</details></td>")
    lines = [_verdict(source, found) for source, found in sources.items()]
    return "".join(f"<tr>{'' if index else about}{line}</tr>" for index, line in enumerate(lines))


def _verdict(source: str, found: Mapping[str, Any]) -> str:
    verdict = escape(str(found["verdict"]))
    effect = interval(found["effect"], found["ci_low"], found["ci_high"])
    return (f'<td data-label="run">{escape(source)}</td>'
            f'<td class="verdict {verdict.replace(" ", "-")}">{verdict}</td>'
            f'<td class=number data-label="effect">{effect}</td>'
            f'<td class=number data-label="seeds">{found["n"]}</td>')


def _cells(source: str, cells: Mapping[str, Any]) -> str:
    found = [(escape(name), interval(cell["effect"], cell["lo"], cell["hi"]), str(cell["n"]),
              number(cell["p_holm"])) for name, cell in cells.items()]
    return table([f"{escape(source)}: cell", "Effect", "Seeds", "p (Holm)"], found)


def figure(chart: Chart) -> str:
    """A chart's place in the page and its data."""
    content = {"spec": {"description": chart.title, **chart.spec}, "columns": chart.columns,
               "data": compressed(to_json(packed(chart.rows)))}
    return (f"<figure><h3>{escape(chart.title)}</h3><figcaption>{escape(chart.caption)}</figcaption>"
            f'<div class="chart" data-chart="data-{chart.name}"></div>'
            f"{data_element(f'data-{chart.name}', content)}</figure>")


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
