"""What DVC leaves after failures and kills, in a small pipeline of this repository's stages and toys."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from copies import run
from imports import ROOT
from reliability.small_study import (
    ANALYSIS,
    ENV,
    GPT2,
    OTHER,
    SUMMARY,
    dvc,
    kill_all_in,
    made,
    outs,
    small,
    wait_until,
)
from study.base.checkpoint_folder import FINISHED

pytestmark = pytest.mark.reliability
FAILS = "raise SystemExit(3)"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The pipeline, reproduced and committed."""
    return made(tmp_path_factory.mktemp("done") / "project", small())


@pytest.fixture
def project(done, tmp_path):
    return shutil.copytree(done, tmp_path / "project", symlinks=True)


def clean(folder):
    """Whether everything is as it was committed."""
    return not run(folder, "git", "status", "--short").stdout and "up to date" in dvc(folder, "status").stdout


def test_a_failed_analysis_deletes_nothing_that_git_tracks(project):
    """DVC deletes a stage's outputs before it runs; what it has cached, it brings back."""
    (project / "analysis.py").write_text(FAILS)
    assert dvc(project, "repro").returncode != 0
    assert not (project / "data/analysis").exists()
    assert (project / "metrics/summary.json").exists() and (project / "plots/summary.json").exists()
    assert dvc(project, "checkout").returncode == 0
    assert (project / "data/analysis").exists()
    (project / "analysis.py").write_text(ANALYSIS)
    assert clean(project)


def test_metrics_and_plots_of_a_failed_stage_come_back_by_one_command(project):
    """What git tracks, git restores."""
    (project / "summary.py").write_text(FAILS)
    assert dvc(project, "repro").returncode != 0
    assert not (project / "metrics/summary.json").exists()
    run(project, "git", "restore", "metrics", "plots")
    assert (project / "metrics/summary.json").exists() and (project / "plots/summary.json").exists()
    (project / "summary.py").write_text(SUMMARY)
    assert clean(project)


def test_every_uncached_output_lies_where_that_command_restores_it():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    uncached = [path for stage in stages for out in stage["outs"] if isinstance(out, dict) for path in out]
    assert uncached and all(Path(path).parts[0] in ("metrics", "plots") for path in uncached)


def test_a_corpus_lost_to_bad_text_comes_back_by_one_command(project):
    good, before = (project / "params.yaml").read_text(), outs(project)
    (project / "data/raw/text").mkdir()
    (project / "data/raw/text/bad.txt").write_bytes(b"fine\n" * 9 + b"caf\xe9\n")
    (project / "params.yaml").write_text(good.replace("source: docs", "source: files"))
    result = dvc(project, "repro", "gpt2_pretrain")
    assert result.returncode != 0 and "bad.txt: line 10 has byte 0xe9" in result.stderr
    assert not (project / "data/corpus").exists() and (project / "data/gpt2/gpt2-0").exists()
    assert outs(project) | before == outs(project)
    assert dvc(project, "checkout", "data/corpus").returncode == 0
    assert (project / "data/corpus/train.bin").exists()
    (project / "params.yaml").write_text(good)
    shutil.rmtree(project / "data/raw/text")
    result = dvc(project, "repro")
    assert result.returncode == 0 and "Running stage 'gpt2" not in result.stdout, result.stdout
    assert outs(project) == before and clean(project)


def test_keep_going_runs_what_does_not_depend_on_the_failed_stage_and_still_fails(project):
    (project / "other.py").write_text(OTHER.replace("done", "again"))
    (project / "summary.py").write_text(FAILS)
    assert dvc(project, "repro", "--keep-going").returncode != 0
    assert (project / "data/other").read_text() == "again"
    (project / "summary.py").write_text(SUMMARY)
    assert dvc(project, "repro", "--keep-going").returncode == 0


def test_of_two_repro_at_once_one_ends_well_and_the_other_says_why_not(project):
    (project / "other.py").write_text(OTHER.replace("done", "again").replace("sleep(2)", "sleep(20)"))
    command = ["dvc", "repro", "other"]
    both = [subprocess.Popen(command, cwd=project, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True) for _ in range(2)]
    texts = [process.communicate()[0] for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes
    for code, text in zip(codes, texts, strict=True):
        assert code == 0 or "busy" in text or "lock" in text.lower(), text
    assert dvc(project, "repro").returncode == 0
    assert (project / "data/other").read_text() == "again"
    assert "up to date" in dvc(project, "status").stdout


def kill_when_checkpointed(folder, *command):
    """Start `dvc`, and kill it and all its children once there is a checkpoint."""
    process = subprocess.Popen(["dvc", *command], cwd=folder, env=ENV, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 500
    while not checkpoints(folder):
        assert process.poll() is None and time.monotonic() < until, "no checkpoint came"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def checkpoints(folder):
    """Those of runs that have not finished: others stay until a later stage sees that DVC has the result."""
    files = (folder / ".checkpoints").glob("*/*.pt")
    return [file for file in files if not (file.parent / FINISHED).exists()]


def test_a_killed_repro_goes_on_and_ends_with_the_same_bytes(project):
    before = outs(project)
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    del lock["stages"][GPT2]
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    shutil.rmtree(project / ".dvc/cache/runs")
    shutil.rmtree(project / "data/gpt2/gpt2-0")
    kill_when_checkpointed(project, "repro", "gpt2_pretrain")
    assert checkpoints(project) and not (project / "data/gpt2/gpt2-0/run.json").exists()
    result = dvc(project, "repro", "gpt2_pretrain")
    assert result.returncode == 0, result.stderr
    assert outs(project) == before
    assert not checkpoints(project)
    (note,) = (project / ".runs" / GPT2).glob("*.json")
    assert json.loads(note.read_text())["tries"] == 2


def test_a_killed_temporary_run_goes_on_in_the_next(project):
    command = ["exp", "run", "--temp", "-S", "gpt2.weight_decay=0.2", "gpt2_pretrain"]
    kill_when_checkpointed(project, *command)
    assert checkpoints(project)
    result = dvc(project, *command)
    assert result.returncode == 0, result.stderr
    assert not checkpoints(project)
    assert clean(project)


def test_a_killed_queue_goes_on_when_the_run_is_queued_again(project):
    for last in (False, True):
        assert dvc(project, "exp", "run", "--queue", "-S", "gpt2.weight_decay=0.2").returncode == 0
        # Its worker would keep a pipe open.
        subprocess.run(["dvc", "queue", "start"], cwd=project, env=ENV, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        if last:
            break
        wait_until(lambda: checkpoints(project), "a checkpoint")
        kill_all_in(project)
        assert checkpoints(project)
    try:
        wait_until(lambda: "Success" in dvc(project, "queue", "status").stdout, "the end of the queued run")
    finally:
        kill_all_in(project)
    assert not checkpoints(project)
