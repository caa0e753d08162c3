"""The whole pipeline on the smoke study, as a user runs it: `dvc repro` in a fresh copy of the repository."""

import hashlib
import json
import time
from pathlib import Path

import pytest
import yaml

from copies import edit, fresh_copy, run


def hashes(folder):
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    sums = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}
    for file in sorted((folder / "metrics").glob("*.json")) + sorted((folder / "plots").rglob("*.json")):
        sums[str(file.relative_to(folder))] = hashlib.md5(file.read_bytes()).hexdigest()
    return sums


def test_every_declared_result_is_there(smoke):
    pipeline = yaml.safe_load((smoke / "dvc.yaml").read_text())
    for name in pipeline["metrics"]:
        assert json.loads((smoke / name).read_text()), name
    assert len(list((smoke / "plots" / "figures").glob("*.png"))) >= 6
    for entry in pipeline["plots"]:
        for name in [entry] if isinstance(entry, str) else entry:
            assert (smoke / name).exists() or "/" not in name, name


def test_a_second_repro_runs_nothing(smoke):
    started = time.monotonic()
    result = run(smoke, "dvc", "repro")
    assert "up to date" in result.stdout + result.stderr
    assert "Running stage" not in result.stdout
    print(f"no-op repro: {time.monotonic() - started:.1f} s")


def test_what_a_stage_loads_lies_in_its_deps(smoke):
    """The modules that functions import, too: the notes of the runs name all that were loaded."""
    stages = yaml.safe_load((smoke / "dvc.yaml").read_text())["stages"]
    notes = sorted((smoke / ".runs").glob("*/*.json"))
    assert {note.parent.name.partition("@")[0] for note in notes} == {
        "classification", "corpus", "mlp_sweep", "init_comparison", "gpt2_pretrain"}
    for note in notes:
        deps = [smoke / dep for dep in stages[note.parent.name.partition("@")[0]]["deps"]]
        for name in json.loads(note.read_text())["code"]:
            path = smoke / "src" / Path(*name.split("."))
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            own = len(name.split(".")) == 1 or name == "study.stages"  # packages hold no code, but words
            assert own or any(file.is_relative_to(dep) for dep in deps), (note.parent.name, name)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("lr: 1e-3", "lr: 0"), ("gpt2.lr", "0")),
        (("n_head: 2", "n_head: 3"), ("n_head", "3", "32")),
        (("std: 0.02", 'std: "0.02"'), ("gpt2.std", "0.02")),
        (("grad_clip: 1.0", "gradclip: 1.0"), ("grad",)),
    ],
)
def test_bad_params_end_in_one_line_and_leave_results(smoke, change, parts):
    params, before = smoke / "params.yaml", hashes(smoke)
    good = edit(params, *change)
    try:
        result = run(smoke, "dvc", "repro", check=False)
        assert result.returncode != 0
        lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
        assert len(lines) == 1, result.stderr
        assert all(part in lines[0] for part in parts), lines[0]
        assert "mlp_sweep" not in result.stdout
    finally:
        params.write_text(good)
    assert hashes(smoke) == before
    run(smoke, "dvc", "repro")
    assert hashes(smoke) == before


@pytest.mark.slow
@pytest.mark.reliability
def test_two_copies_give_the_same_bytes(smoke, tmp_path):
    again = fresh_copy(tmp_path)
    edit(again / "params.yaml", "study: default", "study: smoke")
    run(again, "dvc", "repro")
    assert hashes(again) == hashes(smoke)
