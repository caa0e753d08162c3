"""The report: complete, escaped, small, without a network, and drawn by a real browser where there is one."""

import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import vl_convert

from plotting import synthetic, synthetic_e1
from plotting.test_templates import walk
from study.plotting import page, report, report_tables
from study.plotting.charts import CHARTS
from study.plotting.grammar import in_words
from study.plotting.page import compressed, data_element

EVIL = '</script><script>alert("x")</script>'
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
         "--virtual-time-budget=60000"]
SETTINGS = synthetic.settings()


ORIGIN = {"recorded": {"date": EVIL, "commit": "c0ffee"}, "parts": 7, "commits": ["c0ffee", EVIL],
          "machines": [{"cpu": EVIL, "cores": 2, "memory_gib": 23.5, "system": "Linux"}],
          "versions": {"torch": "2.1"}, "wall_seconds": 5400.0, "missing": ["e2-wine-3", EVIL],
          "params": {"gpt2": {"lr": 0.125, "arms": [EVIL]}}}


def detail(sources):
    cell = {"effect": 0.5, "lo": 0.25, "hi": None, "n": 5, "p_holm": 0.03}
    verdict = {"verdict": "contradicted", "effect": -0.125, "ci_low": -0.5, "ci_high": None, "n": 5,
             "note": EVIL, "cells": {EVIL: cell}}
    claim = {"origin": "paper", "sentence": f"A claim {EVIL}", "effect": "an effect", "rule": "a rule",
             "sources": dict.fromkeys(sources, verdict)}
    return {"rule_of_all": "one rule", "claims": {"e1_regimes": claim},
            "recorded": {EVIL: ORIGIN, "bare": {}}}


def recipes(source="local"):
    return pd.DataFrame([(source, "MLP", "layer 1", EVIL, 0.125, np.nan, np.nan, "theory")],
                        columns=["source", "model", "part", "quantity", "value", "lo", "hi", "basis"])


@pytest.fixture(scope="module")
def tables():
    made = synthetic.small(arms=("gpt2", EVIL), source=EVIL)
    slopes = synthetic_e1.e1_slopes(("digits",), 5).assign(source=EVIL)  # Wine has one width
    return made | {"recipes": recipes(EVIL), "e1_slopes": slopes}


@pytest.fixture(scope="module")
def path(tables, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.write(path, tables, detail([EVIL]), {"gpt2": {"lr": 0.125, "arms": [EVIL]}}, SETTINGS)
    return path


def test_names_from_data_and_params_are_only_text(path):
    text = path.read_text()
    assert EVIL not in text
    assert "alert(\"" not in text
    assert text.count("<script") == text.count("</script>") == len(CHARTS) + 2


def test_it_asks_for_nothing_outside(path):
    text = re.sub(r"<script>.*?</script>", "", path.read_text(), flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["']?[^"'#]""", text)
    assert "default-src 'none'" in text


def test_it_tells_claims_recipes_params_and_versions(path):
    text = path.read_text()
    assert 'class="verdict contradicted">contradicted<' in text
    assert "−0.125 [−0.5, –]" in text
    assert "one rule" in text and "a rule" in text and "0.03" in text
    assert ">0.125</td>" in text
    assert "lr: 0.125" in text
    assert "torch " in text


def test_tables_tell_numbers_with_their_intervals(tables):
    law = report_tables.tables_of(tables, "e1", SETTINGS)
    assert law.count("<tr>") == 1 + len(tables["e1_depth_law"])
    assert "<td class=number>−1.2 [−1.3, −1.1]</td><td class=number>−1</td>" in law
    final = report_tables.tables_of(tables, "e3", SETTINGS)
    assert "<td><span class=role>attention out</span></td><td class=number>0.02 [0.018, 0.022]</td>" in final
    assert "<td class=number>−0.03 [−0.04, −0.02]</td>" in final, "the forecast's error minus the law's"
    assert "<span class=why>small updates (c2 0.7)</span></td><td class=number>0.05</td>" in final
    assert "Exploratory. Confirmed:" in final
    assert report_tables.tables_of(tables, "e2", SETTINGS) == ""
    assert EVIL not in law + final


def test_the_same_tables_give_the_same_bytes(path, tables, tmp_path):
    again = tmp_path / "report.html"
    report.write(again, tables, detail([EVIL]), {"gpt2": {"lr": 0.125, "arms": [EVIL]}}, SETTINGS)
    assert again.read_bytes() == path.read_bytes()


def test_what_was_not_run_is_left_out(tables):
    body = report.body({"e3_loss": tables["e3_loss"]}, detail(["local"]), {}, SETTINGS)
    assert body.count('class="chart"') == 1
    assert "Recipes" not in body


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_compiles_and_its_fields_exist(tables, name):
    chart = CHARTS[name](tables[name], SETTINGS)
    spec = report.interactive(chart)
    rows = json.loads(chart.rows.iloc[:50].to_json(orient="records"))
    vl_convert.vegalite_to_vega({**spec, "data": {"values": rows}})
    named = {part["field"] for part in walk(spec) if isinstance(part.get("field"), str)}
    made = {part["as"] for part in walk(spec) if isinstance(part.get("as"), str)}
    filters = [part["filter"] for part in walk(spec) if "filter" in part]
    asked = set(re.findall(r"datum\.(\w+)", json.dumps(filters)))
    assert named | asked <= set(chart.rows) | made, name
    assert EVIL not in json.dumps(filters), "no expression holds a name from the data"
    assert any("tooltip" in part for part in walk(spec))


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_shows_something_before_anybody_chooses(name):
    """A recorded run that lasts longer than the local one has other steps."""
    rows = synthetic.study()[name]
    if "step" in rows:
        local = rows["source"] == rows["source"].iloc[0]
        rows = rows.assign(step=rows["step"].where(local, 2 * rows["step"]))
    chart = CHARTS[name](rows, SETTINGS)
    spec = report.interactive(chart)
    first = {part["name"].removeprefix("pick_"): part["value"] for part in spec["params"]
             if part["name"].startswith("pick_")}
    asked = {part["filter"] for part in spec["transform"]}
    assert asked == {f"datum.{name} === pick_{name}" for name in first}
    shown = in_words(chart.rows)
    for field, value in first.items():
        shown = shown[shown[field] == value]
    assert len(shown) and first, first


def test_a_list_of_one_value_is_not_shown():
    rows = synthetic.tables(arms=("gpt2",))["e3_mechanism"]
    spec = report.interactive(CHARTS["e3_mechanism"](rows, SETTINGS))
    assert [part["name"] for part in spec["params"]] == ["click"] and spec["transform"] == []


def test_a_full_study_beside_a_recorded_one_stays_small(tmp_path):
    """Eight arms and three data sets, twice, with noise so that compression has nothing to gain."""
    noise = np.random.default_rng(0)
    tables = synthetic.study()
    for table in tables.values():
        for column in table.select_dtypes("float").columns.difference(["std", "lr", "left", "right"]):
            table[column] *= noise.uniform(0.9, 1.1, len(table))
    report.write(tmp_path / "report.html", tables, detail(["local", "full-cpu"]), {}, SETTINGS)
    assert (tmp_path / "report.html").stat().st_size < 2_000_000


def test_this_run_stands_above_recorded_ones():
    text = report.claims(detail(["full-cpu", "local"]))
    assert text.index('data-label="run">local') < text.index('data-label="run">full-cpu')


def test_where_a_recorded_run_comes_from():
    plain = json.loads(json.dumps(ORIGIN).replace(json.dumps(EVIL), '"some"'))
    text = report_tables.reproduction({"x": 1}, {"full-cpu": plain})
    assert "<h3>full-cpu</h3>" in text and "<pre>x: 1\n</pre>" in text
    assert "7 parts in 1.5 hours on some, 2 cores, 23.5 GiB, Linux; missing: e2-wine-3, some." in text
    assert "Code: c0ffee, some. torch 2.1." in text
    assert "missing" not in report_tables.reproduction({}, {"full-cpu": plain | {"missing": []}})
    machine = plain["machines"][0] | {"gpu": "NVIDIA H100"}
    assert "hours on NVIDIA H100, some, 2 cores" in report_tables.reproduction(
        {}, {"full-cpu": plain | {"machines": [machine]}})


def test_packed_columns_lose_nothing_that_is_shown():
    rows = pd.DataFrame({"name": ["a", "b", "a"], "value": [0.123456, np.nan, np.inf], "n": [1, 2, 3]})
    assert report.packed(rows) == {"name": {"words": ["a", "b"], "index": [0, 1, 0]},
                                   "value": [0.1235, None, None], "n": [1, 2, 3]}


def test_data_elements_hold_no_markup():
    element = data_element("x", {"name": "<&>", "rows": compressed("[1]")})
    assert element.count("<") == 2
    assert json.loads(element.partition(">")[2].removesuffix("</script>"))["name"] == "<&>"


@pytest.mark.parametrize(("value", "text"), [(0.12345, "0.123"), (-1.5, "−1.5"), (16666.7, "16,700"),
                                             (1e-7, "1e−07"), (np.nan, "–"), (None, "–")])
def test_numbers_have_three_digits(value, text):
    assert report_tables.number(value) == text


def opened(path, tmp_path, width):
    """The page as a browser made it, the console's messages, and the size of its picture."""
    picture = tmp_path / "page.png"
    flags = [*FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},2000",
             "--enable-logging=stderr"]
    command = [BROWSER, *flags, f"--screenshot={picture}", "--dump-dom", path.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return ended.stdout, re.findall(r'CONSOLE[^"]*"(.*)", source', ended.stderr), picture.stat().st_size


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_the_console_tells_of_a_request(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page.page('<img src="http://127.0.0.1:9/x.png">', ""))
    assert any("Content Security Policy" in message for message in opened(path, tmp_path, 400)[1])


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
@pytest.mark.parametrize("width", [1100, 390])
def test_a_browser_draws_every_chart_and_asks_for_nothing(path, tmp_path, width):
    html, console, size = opened(path, tmp_path, width)
    assert not [message for message in console if not message.startswith("WARN ")]
    assert f'data-drawn="{len(CHARTS)}"' in html
    assert "could not be drawn" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert html.count('class="marks"') == len(CHARTS)
    assert size > 20_000
