"""What is filed is what ran: a stage notices what changed under it, works alone, and ends with dvc."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imports import ROOT
from study.base import guard
from variance_dynamics.base.errors import BadInput

OUT = Path("data/out")
ENV = {**os.environ, "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "DVC_STAGE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    Path("requirements.lock").write_text("torch==1\n")
    Path("in").mkdir()
    Path("in/table").write_text("1")
    return tmp_path


def work(during, knobs=lambda: {"gpt2": {"lr": 0.003, "dumps": {"every": 25}}}):
    with guard.unchanged(OUT, knobs, [Path("in")]):
        during()


def test_nothing_changed():
    work(lambda: None)
    work(lambda: Path("in/table").write_text("1"))


def test_params_that_changed_are_named_with_both_values():
    values = {"gpt2": {"lr": 0.003, "steps": 10}}
    changed = r"params.yaml: gpt2.lr 0.003 -> 0.009: changed while this stage ran: run it again"
    with pytest.raises(BadInput, match=changed):
        work(lambda: values["gpt2"].update(lr=0.009), lambda: {"gpt2": dict(values["gpt2"])})
    with pytest.raises(BadInput, match=r"gpt2.wd None -> 1: changed"):
        work(lambda: values["gpt2"].update(wd=1), lambda: {"gpt2": dict(values["gpt2"])})


def test_params_that_cannot_be_read_any_more():
    reads = []

    def knobs():
        reads.append(1)
        if len(reads) > 1:
            raise BadInput("params.yaml: line 3: expected valid YAML")
        return {}

    with pytest.raises(BadInput, match=r"line 3: .* \(changed while this stage ran; run it again\)"):
        work(lambda: None, knobs)


@pytest.mark.parametrize("file", ["in/table", "in/more", "requirements.lock"])
def test_inputs_and_versions_that_changed(file):
    with pytest.raises(BadInput, match=rf"{Path(file).parts[0]}: changed while this stage ran"):
        work(lambda: Path(file).write_text("2"))


def test_code_that_changed_and_code_that_is_loaded_later(monkeypatch):
    code = {"study.base.guard": "a"}
    monkeypatch.setattr(guard, "loaded_code", lambda: dict(code))
    work(lambda: code.update({"study.base.runs": "b"}))
    with pytest.raises(BadInput, match=r"code of study.base.guard: changed while this stage ran"):
        work(lambda: code.update({"study.base.guard": "c"}))


def test_a_failure_stays_what_it_is():
    with pytest.raises(KeyError):
        work(lambda: {}["absent"])


def test_one_process_at_a_time_makes_an_output():
    def second():
        with pytest.raises(BadInput, match=r"data/out: another process is making it: expected one at a time"):
            work(lambda: None)
        with guard.unchanged(Path("data/other"), dict):
            pass

    work(second)
    work(lambda: None)


PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env={**os.environ, "DVC_STAGE": "stage"})
print(child.pid, flush=True)
time.sleep(60)
"""
STAGE = """
import pathlib, time
from study.base import guard
guard.POLL = 0.05
with guard.unchanged(pathlib.Path("data/out"), dict):
    pathlib.Path("started").touch()
    time.sleep(60)
    pathlib.Path("finished").touch()
"""


def test_a_stage_ends_when_dvc_is_killed(place):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, STAGE], cwd=place, env=ENV, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_for(lambda: (place / "started").exists())
    parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not running(child))
    _, errors = parent.communicate()
    assert "error: dvc has ended" in errors and not (place / "finished").exists()
    work(lambda: None)  # the lock went with it


def wait_for(what, seconds=60):
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.02)


def running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


LATE = """
from pathlib import Path
from study.base import guard

def knobs():
    return {"gpt2": {"lr": float(Path("lr").read_text())}}

with guard.unchanged(Path("data/out"), knobs, []):
    pass
Path("lr").write_text(".009")  # while the stage writes its note and ends
"""


def test_params_that_change_after_the_comparison_and_before_the_process_ends():
    """DVC reads params later still; most of the time between is that of the stage's own end."""
    Path("lr").write_text(".003")
    command = [sys.executable, "-c", LATE]
    ended = subprocess.run(command, env={**ENV, "DVC_STAGE": "gpt2"}, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: params.yaml: gpt2.lr 0.003 -> 0.009: changed while this stage ran")
    Path("lr").write_text(".003")
    assert subprocess.run(command, env=ENV).returncode == 0, "of a run by hand nothing is filed"
