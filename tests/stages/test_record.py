"""The smoke study as a recorded run: what is packed, where it came from, and what is refused in one line."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from copies import edit, run
from imports import ROOT, module_file
from study.analysis.params import AnalyzeParams
from study.analysis.source import analyzed
from study.base import params
from variance_dynamics.base import rows

ARMS = params.load(ROOT / "params.yaml")["gpt2"]["arms"]
RUNS = [f"{arm}-{seed}" for arm in ARMS for seed in range(3)]
PARTS = ["corpus", "classification", "mlp_sweep", "init_comparison"]
PARTS += [f"gpt2_pretrain@{name}" for name in RUNS]
DATA = {"wine", "digits", "corpus text", "corpus train tokens", "corpus val tokens"}


def record(folder, *arguments, check=True):
    return run(folder, "python", "-m", "study.stages.record", *arguments, check=check,
               PYTHONPATH=str(folder / "src"))


def refused(folder, *arguments):
    ended = record(folder, *arguments, check=False)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    (line,) = ended.stderr.splitlines()
    return line


def provenance(folder, name="trial"):
    return json.loads((folder / "data/recorded" / name / "provenance.json").read_text())


def tables(folder, name="trial"):
    kept = folder / "data/recorded" / name
    return {path.relative_to(kept): path.read_bytes() for path in kept.rglob("*.parquet")}


@pytest.fixture(scope="module")
def whole(smoke, tmp_path_factory):
    """A copy of the finished smoke study, recorded as `trial`."""
    folder = shutil.copytree(smoke, tmp_path_factory.mktemp("record") / "whole", symlinks=True)
    assert f"{len(PARTS)} of {len(PARTS)} parts" in record(folder, "trial").stdout
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy", symlinks=True)


def test_provenance_is_complete(whole):
    about = provenance(whole)
    assert list(about) == ["study", "recorded", "machines", "versions", "wall_seconds", "parts", "missing",
                           "data", "params"]
    assert about["study"] == "smoke" and list(about["parts"]) == PARTS and about["missing"] == []
    first = run(whole, "git", "rev-list", "--max-parents=0", "HEAD").stdout.strip()
    for name, part in about["parts"].items():
        assert part["commit"] == first and part["clean"] and part["tries"] == 1 and part["seconds"] >= 0, name
    assert about["wall_seconds"] == pytest.approx(sum(part["seconds"] for part in about["parts"].values()))
    assert about["parts"]["gpt2_pretrain@gpt2-0"]["tokens_per_second"] > 0
    assert about["data"].keys() == DATA
    assert about["machines"][0]["cores"] >= 1 and "torch" in about["versions"]
    resolved = params.read(whole / "params.yaml")
    assert about["params"]["gpt2_presets"]["cpu"]["n_embd"] == 32
    assert about["params"] == resolved | {"analyze": resolved["analyze"] | {"recorded": []}}
    text = json.dumps(about)
    assert not any(place in text for place in (str(whole), str(ROOT), str(Path.home()) + "/"))


def test_the_code_that_a_stage_loaded_lies_in_its_deps(whole):
    """What functions import while a stage runs, too. `__init__` files hold no code that computes."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    seen = set()
    for file in whole.glob(".runs/*/*.json"):
        note = json.loads(file.read_text())
        seen.add(note["item"])
        deps = [ROOT / dep for dep in stages[note["item"].partition("@")[0]]["deps"]]
        loaded = [module_file(name) for name in note["code"] if module_file(name)]
        assert len(loaded) > 5
        outside = [path for path in loaded if not any(path.is_relative_to(dep) for dep in deps)]
        assert not outside, f"{note['item']} loads {outside}"
    assert seen == set(PARTS)


def test_what_claims_are_made_of_is_kept(whole):
    """rms squared keeps its digits: R at the first steps is a small difference of it."""
    name, keys = "gpt2/gpt2-0/weights.parquet", ["stat", "layer", "role", "step"]
    raw, kept = (pd.read_parquet(whole / place / name) for place in ("data", "data/recorded/trial"))
    both = raw.merge(kept, on=keys, suffixes=("", "_kept"))
    rms = both[both["stat"] == "rms"]
    assert len(rms) == (raw["stat"] == "rms").sum() > 0 and (rms["value"] == rms["value_kept"]).all()
    histograms = {name: len(pd.read_parquet(whole / f"data/recorded/trial/gpt2/{name}/histograms.parquet"))
                  for name in RUNS}
    assert {name for name, rows in histograms.items() if rows} == {f"{arm}-0" for arm in ARMS}


@pytest.mark.parametrize("gone", [[], ["mlp_sweep"], ["init_comparison"], ["gpt2"], ["mlp_sweep", "gpt2"],
                                  ["gpt2/gpt2-0", "gpt2/gpt2-1", "gpt2/gpt2-2"]])
def test_what_is_there_is_analysed(whole, tmp_path, gone):
    folder = shutil.copytree(whole / "data/recorded/trial", tmp_path / "trial")
    for name in gone:
        shutil.rmtree(folder / name)
    rules = params.section(params.read(ROOT / "params.yaml"), "analyze", AnalyzeParams)
    results = analyzed(folder, rules.model_copy(update={"bootstrap": 100}), {})
    for name, prefix in (("mlp_sweep", "e1_"), ("init_comparison", "e2_"), ("gpt2", "e3_")):
        assert any(table.startswith(prefix) for table in results.tables) == (name not in gone)


def test_recording_again_gives_the_same_tables(folder):
    before = tables(folder)
    record(folder, "trial")
    assert tables(folder) == before and len(before) == 3 + 3 + 4 * len(RUNS)


def test_only_what_is_up_to_date_is_packed(folder):
    """The rest is named, and a recording that has more is not replaced by one that has less."""
    shutil.rmtree(folder / "data/gpt2/gpt2-1")
    shutil.rmtree(folder / ".runs/gpt2_pretrain@gpt2-2")
    edit(folder / "params.yaml", "      steps: 20\n", "      steps: 19\n")  # of mlp_sweep
    line = refused(folder, "trial")
    assert "has gpt2/gpt2-1, gpt2/gpt2-2, mlp_sweep, which is missing here" in line
    said = record(folder, "less").stdout
    assert "missing: mlp_sweep (made from other params, code or data)" in said
    assert "missing: gpt2_pretrain@gpt2-1 (not run)" in said
    assert "missing: gpt2_pretrain@gpt2-2 (no note of how it was made here)" in said
    missing = ["mlp_sweep", "gpt2_pretrain@gpt2-1", "gpt2_pretrain@gpt2-2"]
    assert provenance(folder, "less")["missing"] == missing
    assert not (folder / "data/recorded/less/mlp_sweep").exists()


def test_a_recording_keeps_its_datasets_and_widths(folder):
    """One that trained on less does not replace it."""
    file = folder / "data/recorded/trial/mlp_sweep/outcomes.parquet"
    outcomes = rows.read(file)
    more = outcomes[:1].assign(dataset="mnist", width=outcomes["width"][0] * 3)
    rows.write(file, pd.concat([outcomes, more.astype(outcomes.dtypes)], ignore_index=True))
    line = refused(folder, "trial")
    assert "trial has mlp_sweep of mnist at width" in line and "which is missing here" in line


def test_a_change_of_the_code_or_of_what_was_read_makes_all_of_it_old(folder):
    with (folder / "src/study/base/params.py").open("a") as file:
        file.write("# changed\n")
    line = refused(folder, "other")
    assert "nothing can be recorded (made from other params, code or data): expected `dvc repro`" in line
    assert not (folder / "data/recorded/other").exists()


def test_some_stages_alone(folder):
    record(folder, "gpt2", "gpt2_pretrain")
    about = provenance(folder, "gpt2")
    assert list(about["parts"]) == [name for name in PARTS if name.startswith(("corpus", "gpt2"))]
    assert about["missing"] == [] and "wine" not in about["data"]
    assert not (folder / "data/recorded/gpt2/mlp_sweep").exists()


@pytest.mark.parametrize(("arguments", "line"), [
    (["local"], "NAME is 'local': expected letters, digits, _ and -, and not local"),
    (["../trial"], "NAME is '../trial'"),
    (["a b"], "NAME is 'a b'"),
    (["trial", "e1"], "STAGE is 'e1': expected some of corpus, classification, mlp_sweep"),
    (["full-cpu"], "full-cpu is of study full, and this is study smoke: expected another NAME")])
def test_refusals(whole, arguments, line):
    assert line in refused(whole, *arguments)
