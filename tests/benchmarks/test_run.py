"""`make bench`: the pages come from results.json alone, and they hold today's."""

import json
import re

import pytest

from imports import ROOT

SWEEP = {"script": "sweep", "bench": "sweep", "unit": "model-steps/s"}
STEP = {"script": "gpt2_step", "bench": "gpt2 step", "shape": "small, short", "unit": "steps/s"}
STUDY = {"script": "whole_study", "bench": "whole study", "shape": "default study", "runs": 1}
ROWS = [
    {**SWEEP, "shape": "wine 13-3", "peer": "ours", "median": 65432.1, "low": 1.5, "high": 7e4,
     "ratio_median": 1.0, "ratio_low": 1.0, "ratio_high": 1.0, "share": 0.5612},
    {**SWEEP, "shape": "wine 13-3", "peer": "JAX jit(vmap(scan))", "median": 34250.0, "low": 3e4, "high": 4e4,
     "ratio_median": 1.928, "ratio_low": 1.4, "ratio_high": 2.4},
    {**SWEEP, "shape": "wine 13-3", "peer": "plain PyTorch loop", "median": 3425.0, "low": 3e3, "high": 4e3,
     "ratio_median": 19.28, "ratio_low": 14.0, "ratio_high": 24.0},
    {**STEP, "peer": "ours", "median": 4.0, "low": 3.0, "high": 5.0, "ratio_median": 1.0, "ratio_low": 1.0,
     "ratio_high": 1.0, "share": 0.4},
    {**STEP, "peer": "ours, compiled", "median": 5.0, "low": 4.0, "high": 6.0, "ratio_median": 0.8,
     "ratio_low": 0.7, "ratio_high": 0.9, "share": 0.5, "compile_seconds": 41.6, "pays_from_steps": 1234},
    *({**STEP, "peer": f"{name}, compiled bf16", "median": median, "low": 1.0, "high": 3.0,
       "ratio_median": 4 / median, "ratio_low": 1.5, "ratio_high": 2.5, "compiled_ratio_median": 5 / median,
       "compiled_ratio_low": 2.0, "compiled_ratio_high": 3.0} for name, median in (("A", 2.0), ("B", 2.5))),
    {**STUDY, "peer": "gpt2_pretrain", "seconds": 400.1, "runs": 6},
    {**STUDY, "peer": "all of it", "seconds": 1230.0},
    {**STUDY, "peer": "all of it, nothing to do", "seconds": 1.4},
]
RESULTS = {"machine": {"processor": "a CPU", "cores": 2, "memory_gb": 24},
           "versions": dict.fromkeys(("python", "torch", "jax", "transformers"), "1.2"), "rows": ROWS}


@pytest.fixture
def bench():
    import run

    return run


def block(text, name):
    return text.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- /{name} -->")[0].splitlines()


def page(bench, old="old"):
    names = ["bench machine", "bench speed", *(f"bench {name}" for name in bench.SCRIPTS)]
    return "# A page\n" + "\n".join(f"<!-- {name} -->\n{old}\n<!-- /{name} -->" for name in names) + "\nend"


def test_a_page_is_filled_from_the_results(bench):
    text = bench.filled(page(bench), RESULTS)
    assert "old" not in text and text.startswith("# A page\n") and text.endswith("\nend")
    assert bench.filled(text, RESULTS) == text
    assert bench.filled("no marks", RESULTS) == "no marks"
    assert block(text, "bench machine") == [
        "a CPU, 2 cores, 24 GB; python 1.2, torch 1.2, jax 1.2, transformers 1.2."]
    assert block(text, "bench sweep")[2:] == [
        "| wine 13-3 | ours | 65,432 [1.5, 70,000] model-steps/s, 56% of the products' rate |  |",
        "|  | JAX jit(vmap(scan)) | 34,250 [30,000, 40,000] model-steps/s | 1.928 [1.4, 2.4] |",
        "|  | plain PyTorch loop | 3,425 [3,000, 4,000] model-steps/s | 19.28 [14, 24] |"]
    assert block(text, "bench gpt2_step")[3:5] == [
        "|  | ours, compiled | 5 [4, 6] steps/s, 50% of the products' rate, compiles in 42 s, which pays "
        "from 1,234 steps | 0.8 [0.7, 0.9] |",
        "|  | A, compiled bf16 | 2 [1, 3] steps/s | 2 [1.5, 2.5], compiled 2.5 [2, 3] |"]
    assert block(text, "bench whole_study")[:3] == [
        "| what | measured |", "| --- | --- |", "| gpt2_pretrain | 400.1 s in 6 runs |"]
    assert block(text, "bench gpu_step") == ["Not measured on this machine."]


def test_the_readme_s_lines_are_the_key_ratios(bench):
    """Of the peers that one trains with, the faster one; nothing of a benchmark that has not run."""
    sweeps, step, study = block(bench.filled(page(bench), RESULTS), "bench speed")
    assert "(wine): 1.93 times JAX" in sweeps and "19.28 times a plain" in sweeps and "56% of" in sweeps
    assert "1.60 times the faster" in step and "2.00 times where ours" in step and "40% of" in step
    assert study == "- The default study takes 20 minutes, and 1.4 s where nothing has changed."


def test_some_are_run_again_and_the_rest_is_kept(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(bench, "PAGES", (tmp_path / "page.md",))
    (tmp_path / "page.md").write_text(page(bench))
    calls = []

    def run(name):
        calls.append(name)
        return [{**row, "seconds": len(calls)} for row in ROWS if row["script"] == name]

    def known():
        rows = json.loads((tmp_path / "results.json").read_text())["rows"]
        return {row["script"]: row["seconds"] for row in rows}

    monkeypatch.setattr(bench, "USUAL", ("sweep", "gpt2_step"))
    monkeypatch.setattr(bench, "run", run)
    bench.main([])
    bench.main(["whole_study", "sweep"])
    assert known() == {"sweep": 4, "gpt2_step": 2, "whole_study": 3}
    assert list(known()) == ["sweep", "gpt2_step", "whole_study"], "in the order of the page"
    bench.main(["pages"])
    assert len(calls) == 4 and "65,432" in (tmp_path / "page.md").read_text()
    monkeypatch.setattr(bench, "machine", lambda: RESULTS["machine"])
    bench.main(["sweep"])
    assert known() == {"sweep": 5}, "rows of another machine are not its own"


def test_results_name_no_date_and_no_path(bench):
    text = json.dumps([bench.machine(), bench.versions()])
    assert not re.search(r"20\d\d-\d\d|/\w+/", text)


def test_the_pages_hold_today_s_results(bench):
    texts = {page.name: page.read_text(encoding="utf-8") for page in bench.PAGES}
    marks = {name for text in texts.values() for name in re.findall(r"<!-- bench (\w+) -->", text)}
    assert marks == {"machine", "speed", *bench.SCRIPTS}
    for name, text in texts.items():
        assert bench.filled(text, bench.known_results()) == text, f"{name} is old: benchmarks/run.py pages"


def test_every_script_is_there(bench):
    assert [name for name in bench.SCRIPTS if not (ROOT / "benchmarks" / f"{name}.py").exists()] == []
    assert "benchmarks/run.py" in (ROOT / "Makefile").read_text(encoding="utf-8")
