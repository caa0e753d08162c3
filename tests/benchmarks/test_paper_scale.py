"""benchmarks/paper_scale.sh with a tiny model on a CPU: its pieces make a recorded run, and it is judged."""

import contextlib
import gzip
import json
import os
import shutil
import subprocess
import sys
import tarfile

import pandas as pd
import pytest

from imports import ROOT
from stages.test_analyze import write_params, write_study
from study.plotting import report_tables
from study.stages import analyze

NAME, STEPS = "gpt2-124m", 110
RUNS = ["gpt2-0", "std_005-0", "std_1-0", "wd_0-0", "gpt2-1"]
LIMIT = 16 * 2**20


def repository(folder, text, bpe):
    """What the script reads of a checkout, with some text and GPT-2's BPE."""
    for name in ("src", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", "requirements.lock"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "data/raw/text").mkdir(parents=True)
    (folder / "data/raw/text/novels.txt").write_text(text)
    (folder / "data/raw/gpt2_bpe").symlink_to(bpe)
    return folder


def piece(folder, seconds, runs, *more):
    """One call of the script; what it told."""
    script, given = folder / "benchmarks/paper_scale.sh", [str(seconds), str(STEPS), "--runs", " ".join(runs)]
    ended = subprocess.run([script, *given, "--tiny", *more], env=os.environ | {"PYTHON": sys.executable},
                           capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def provenance(folder):
    return json.loads((folder / "data/recorded" / NAME / "provenance.json").read_text())


def recorded(folder):
    kept = folder / "data/recorded" / NAME
    return {str(path.relative_to(kept)): path.read_bytes() for path in sorted(kept.rglob("*.parquet"))}


@pytest.fixture(scope="module")
def places(tmp_path_factory, shared_data):
    """Two machines: a piece of one step and another one here, the pack taken there, and the rest."""
    with gzip.open(shared_data / "novels/val.txt.gz", "rt", encoding="utf-8") as file:
        text = "\n<|endoftext|>\n".join(file.read(20_000) for _ in range(20))
    here, there = (repository(tmp_path_factory.mktemp("paper") / name, text, shared_data / "gpt2_bpe")
                   for name in ("here", "there"))
    packed = tmp_path_factory.mktemp("packed") / "runs.tar"
    assert "e3-gpt2-0 is next; run this again to go on" in piece(here, 1e-3, RUNS)
    assert provenance(here)["missing"] == [f"e3-{run}" for run in RUNS]
    told = piece(here, 600, RUNS[:4], "--pack", str(packed))
    assert "all runs are finished" in told
    assert all(f"{done} of 5 parts" in told for done in range(1, 6)), "recorded after each run"
    assert packed.stat().st_size < LIMIT
    with tarfile.open(packed) as tar:
        tar.extractall(there, filter="data")
    assert "all runs are finished" in piece(there, 600, RUNS)
    return here, there


@pytest.mark.slow
def test_the_pieces_make_a_recorded_run(places):
    here, there = places
    found = provenance(there)
    assert list(found["parts"]) == ["corpus", *(f"e3-{run}" for run in RUNS)] and found["missing"] == []
    assert found["parts"]["e3-gpt2-0"]["tries"] == 2 and found["parts"]["e3-gpt2-1"]["tries"] == 1
    assert all(found["parts"][f"e3-{run}"]["tokens_per_second"] > 0 for run in RUNS)
    assert [found["parts"][f"e3-{run}"]["resumed_at"] for run in RUNS] == [1, 0, 0, 0, 0]
    assert found["params"]["gpt2"]["arms"] == ["gpt2", "std_005", "std_1", "wd_0"]
    assert {"corpus text", "corpus train tokens"} <= found["data"].keys()
    folder = there / "data/recorded" / NAME / "gpt2"
    told = {run: json.loads((folder / run / "run.json").read_text()) for run in RUNS}
    assert [told[run]["std"] for run in RUNS] == [0.02, 0.005, 0.1, 0.02, 0.02]
    assert told["wd_0-0"]["weight_decay"] == 0 and told["gpt2-0"]["vocab_size"] == 50257
    before, after = recorded(here), recorded(there)
    assert before and before.items() <= after.items(), "what was finished here is not trained again there"


@pytest.mark.slow
def test_nothing_is_lost_that_the_claims_are_made_of(places):
    """In float32, R at the first steps would be rounding: it is a small difference of rms squared."""
    folder = places[1] / "data/recorded" / NAME / "gpt2/gpt2-0"
    raw = pd.read_parquet(places[0] / ".full" / NAME / "e3-gpt2-0/data/gpt2/gpt2-0/weights.parquet")
    keys = ["stat", "layer", "role", "step"]
    both = raw.merge(pd.read_parquet(folder / "weights.parquet"), on=keys, suffixes=("", "_kept"))
    rms = both[both.stat == "rms"]
    assert len(rms) == (raw.stat == "rms").sum() and (rms.value == rms.value_kept).all()
    assert {"std", "update_rms", "delta_ms_init", "delta_dot_100"} <= set(both.stat)


@pytest.mark.slow
def test_params_may_name_it_and_it_has_verdicts(places, tmp_path):
    write_study(tmp_path / "data")
    write_params(tmp_path, recorded=[NAME])
    shutil.copytree(places[1] / "data/recorded", tmp_path / "data/recorded")
    with contextlib.chdir(tmp_path):
        analyze.main()
    detail = json.loads((tmp_path / "metrics/claims_detail.json").read_text())
    for claim in ("e3_shallow_expands_first", "e3_narrow_bands", "e3_null_law"):
        verdict = detail["claims"][claim]["sources"][NAME]
        assert verdict["verdict"] != "not run" and verdict["n"] == 2, claim
    assert detail["claims"]["e1_regimes"]["sources"][NAME]["verdict"] == "not run"
    told = report_tables.reproduction({}, detail["recorded"])
    assert f"<h3>{NAME}</h3>" in told and "6 parts in " in told
