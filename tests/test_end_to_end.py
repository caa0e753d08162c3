"""The whole pipeline on the smoke study, as a user runs it: `dvc repro` in a fresh copy of the repository."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from imports import ROOT

ENV = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}


def run(folder, *command, check=True):
    result = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True)
    assert not check or result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def fresh_copy(folder):
    """The tracked files as they stand now, in a git repository of their own with the smoke study chosen."""
    tracked = run(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("metrics/", "plots/", "dvc.lock")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("study: default", "study: smoke", 1))
    run(folder, "git", "init", "--quiet")
    return folder


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = fresh_copy(tmp_path_factory.mktemp("smoke"))
    run(folder, "dvc", "repro")
    return folder


def hashes(folder):
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    found = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}
    for name in sorted((folder / "metrics").glob("*.json")) + sorted((folder / "plots").glob("*.json")):
        found[str(name.relative_to(folder))] = hashlib.md5(name.read_bytes()).hexdigest()
    return found


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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("lr: 1e-3", "lr: 0"), ("gpt2.lr", "0")),
        (("n_head: 2", "n_head: 3"), ("n_head", "3", "32")),
        (("std: 0.02", 'std: "0.02"'), ("gpt2.std", "0.02")),
        (("grad_clip: 1.0", "gradclip: 1.0"), ("grad",)),
    ],
)
def test_bad_params_end_in_one_line_and_leave_results(smoke, change, told):
    params = smoke / "params.yaml"
    good, before = params.read_text(), hashes(smoke)
    try:
        assert change[0] in good
        params.write_text(good.replace(*change))
        result = run(smoke, "dvc", "repro", check=False)
        assert result.returncode != 0
        lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
        assert len(lines) == 1, result.stderr
        assert all(part in lines[0] for part in told), lines[0]
        assert "mlp_sweep" not in result.stdout
    finally:
        params.write_text(good)
    assert hashes(smoke) == before
    run(smoke, "dvc", "repro")
    assert hashes(smoke) == before


@pytest.mark.slow
def test_two_copies_give_the_same_bytes(smoke, tmp_path):
    again = fresh_copy(tmp_path)
    run(again, "dvc", "repro")
    assert hashes(again) == hashes(smoke)
