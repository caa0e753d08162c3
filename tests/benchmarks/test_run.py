"""`make bench`: the table comes from results.json alone, and the README holds today's."""

import importlib
import json
import re

import pytest

from imports import ROOT

ROWS = [
    {"bench": "sweep", "shape": "wine", "peer": "ours", "unit": "model-steps/s", "median": 65432.1,
     "low": 1.5, "high": 7e4, "ratio_median": 1.0, "ratio_low": 1.0, "ratio_high": 1.0, "share": 0.5612},
    {"bench": "sweep", "shape": "wine", "peer": "JAX", "unit": "model-steps/s", "median": 34250.0, "low": 3e4,
     "high": 4e4, "ratio_median": 1.928, "ratio_low": 1.4, "ratio_high": 2.4},
    {"bench": "gpt2 step", "shape": "small", "peer": "ours, compiled", "unit": "steps/s", "median": 5.0,
     "low": 4.0, "high": 6.0, "ratio_median": 0.8, "ratio_low": 0.7, "ratio_high": 0.9, "share": 0.5,
     "compile_seconds": 41.6, "pays_from_steps": 1234},
    {"bench": "gpt2 step", "shape": "small", "peer": "theirs", "unit": "steps/s", "median": 2.0, "low": 1.0,
     "high": 3.0, "ratio_median": 2.0, "ratio_low": 1.5, "ratio_high": 2.5, "compiled_ratio_median": 2.5,
     "compiled_ratio_low": 2.0, "compiled_ratio_high": 3.0},
    {"bench": "stages", "shape": "corpus, smoke study", "peer": "ours", "seconds": 4.1, "peak_mb": 200},
    {"bench": "corpus", "shape": "72 MB of text", "peer": "ours", "seconds": 9.0, "peak_mb": 210,
     "mb_per_s": 8.0},
    {"bench": "whole study", "shape": "default study", "peer": "gpt2_pretrain", "seconds": 400.1, "runs": 6},
    {"bench": "whole study", "shape": "default study", "peer": "plot", "seconds": 30.0, "runs": 1},
]
RESULTS = {"machine": {"processor": "a CPU", "cores": 2, "memory_gb": 24},
           "versions": dict.fromkeys(("python", "torch", "jax", "transformers"), "1.2"), "rows": ROWS}


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("run")


def test_the_table(bench):
    lines = bench.markdown(RESULTS).splitlines()
    assert lines[0].startswith("a CPU, 2 cores, 24 GB; python 1.2, torch 1.2")
    assert lines[4:] == [
        "| sweep | wine | ours | 65,432 [1.5, 70,000] model-steps/s, 56% of the products' rate |  |",
        "| sweep | wine | JAX | 34,250 [30,000, 40,000] model-steps/s | 1.928 [1.4, 2.4] x |",
        "| gpt2 step | small | ours, compiled | 5 [4, 6] steps/s, 50% of the products' rate, compiles in "
        "42 s, which pays from 1,234 steps | 0.8 [0.7, 0.9] x |",
        "| gpt2 step | small | theirs | 2 [1, 3] steps/s | 2 [1.5, 2.5] x, compiled 2.5 [2, 3] x |",
        "| stages | corpus, smoke study | ours | 4.1 s, at most 200 MB of memory |  |",
        "| corpus | 72 MB of text | ours | 8.0 MB/s, 9.0 s, at most 210 MB of memory |  |",
        "| whole study | default study | gpt2_pretrain | 400.1 s in 6 runs |  |",
        "| whole study | default study | plot | 30.0 s |  |",
    ]


def test_it_goes_between_its_markers(bench):
    text = "before\n<!-- bench -->\nold\n<!-- /bench -->\nafter"
    found = bench.with_table(text, "bench", bench.markdown(RESULTS))
    assert found == f"before\n<!-- bench -->\n{bench.markdown(RESULTS)}\n<!-- /bench -->\nafter"
    assert bench.with_table(found, "bench", bench.markdown(RESULTS)) == found
    assert bench.with_table("no markers", "bench", "a table") == "no markers"


def test_some_are_run_again_and_the_rest_is_kept(bench, monkeypatch, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    for name in ("README.md", "benchmarks/NOTES.md"):
        (tmp_path / name).write_text("text")
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "run", lambda name: [{**ROWS[2], "shape": f"{name} {len(calls)}"}])
    calls = []
    bench.main([])
    calls.append("again")
    bench.main(["growth"])
    found = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["shape"] for row in found] == ["sweep 0", "gpt2_step 0", "tracking 0", "growth 1", "stages 0"]
    bench.main(["study"])
    assert json.loads((tmp_path / "results.json").read_text())["rows"][-1]["shape"] == "study 1"
    monkeypatch.setattr(bench, "machine", lambda: RESULTS["machine"])
    bench.main(["sweep"])
    kept = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["shape"] for row in kept] == ["sweep 1"], "rows of another machine are not its own"


def test_results_name_no_date_and_no_path(bench):
    text = json.dumps([bench.machine(), bench.versions()])
    assert not re.search(r"20\d\d-\d\d|/\w+/", text)


def test_the_pages_hold_today_s_results(bench):
    for page, name, table in bench.tables(bench.earlier()):
        text = page.read_text(encoding="utf-8")
        assert f"<!-- {name} -->" in text, f"{page.name} has no place for the table {name}"
        assert bench.with_table(text, name, table) == text, f"{page.name}: its table is old: make bench"


def test_machines_side_by_side(bench):
    """The ratios are those of the results, the best peer is the one that is furthest ahead."""
    latest = bench.earlier()
    rows = [line.split(" | ") for line in bench.machines.table(bench.machines.known(latest)).splitlines()[2:]]
    assert len(rows) == 4 * (1 + len(list((ROOT / "benchmarks/elsewhere").glob("*.json"))))
    share, times, *_ = rows[-4:]
    sweeps = bench.machines.peers(latest, "sweep", "mnist")
    assert share[4] == f"{sweeps['ours']['share']:.0%}"
    assert times[4] == f"{sweeps['JAX jit(vmap(scan))']['ratio_median']:.2f}"
    steps = bench.machines.peers(latest, "gpt2 step", "width 256")
    both = [row["compiled_ratio_median"] for name, row in steps.items() if "compiled bf16" in name]
    assert len(both) == 2 and times[6] == f"{min(both):.2f} |"
    assert bench.machines.of({"machine": latest["machine"], "rows": latest["rows"][:3]}) == []


def test_every_bench_is_there(bench):
    names = (*bench.BENCHES, *bench.LONG)
    assert [name for name in names if not (ROOT / "benchmarks" / f"{name}.py").exists()] == []
    assert "benchmarks/run.py" in (ROOT / "Makefile").read_text(encoding="utf-8")
