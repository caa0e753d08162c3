"""Notes of runs: complete, found by the output that they are about, and kept through kills and failures."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imports import ROOT
from study.base import runs
from study.base.provenance import home

ITEM, OUT = "gpt2_pretrain@gpt2-0", Path("data/out")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty repository root with some params.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    Path("params.yaml").write_text("lr: 1\n")
    return tmp_path


def knobs():
    lines = Path("params.yaml").read_text().splitlines()
    return {"lines": [line for line in lines if not line.startswith("#")]}


def work(content="result"):
    with runs.noted(ITEM, OUT, knobs):
        OUT.mkdir(parents=True, exist_ok=True)
        (OUT / "table").write_text(content)


def fail():
    with runs.noted(ITEM, OUT, knobs):
        raise KeyError


def files():
    return sorted(path.name for path in (home() / ITEM).glob("*"))


def test_a_note_is_complete():
    work()
    note = runs.note_of(ITEM, OUT)
    assert note["item"] == ITEM and note["tries"] == 1 and 0 <= note["seconds"] < 60
    assert {"commit", "clean", "finished"} <= note.keys()
    assert note["machine"]["cores"] >= 1 and note["versions"]["python"].startswith("3.")
    code = ROOT / "src/study/base/runs.py"
    assert note["code"]["study.base.runs"] == hashlib.sha256(code.read_bytes()).hexdigest()


def test_each_output_has_its_own_note_which_outlives_the_next():
    """As DVC brings an earlier output back without running anything."""
    work("first")
    first = runs.note_of(ITEM, OUT)
    work("second")
    assert len(files()) == 2 and runs.note_of(ITEM, OUT)
    (OUT / "table").write_text("first")
    assert runs.note_of(ITEM, OUT) == first
    (OUT / "table").rename(OUT / "other")
    assert runs.note_of(ITEM, OUT) is None


def test_attempts_that_failed_are_counted_until_the_knobs_change():
    for text in ("lr: 1\n", "# a comment\nlr: 1\n"):
        Path("params.yaml").write_text(text)
        with pytest.raises(KeyError):
            fail()
    work()
    assert runs.note_of(ITEM, OUT)["tries"] == 3
    assert len(files()) == 1, "nothing unfinished is left"
    with pytest.raises(KeyError):
        fail()
    Path("params.yaml").write_text("lr: 2\n")
    work()
    assert runs.note_of(ITEM, OUT)["tries"] == 1


SLOW = """
import pathlib, time
from study.base import runs
from study.base.provenance import home
runs.BEAT = 0.05
with runs.noted("item", pathlib.Path("data/out"), dict):
    time.sleep(60 if pathlib.Path("wait").exists() else 0)
    pathlib.Path("data/out").mkdir(parents=True)
"""


def test_a_kill_loses_no_more_than_a_beat(place):
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    (place / "wait").touch()
    process = subprocess.Popen([sys.executable, "-c", SLOW], cwd=place, env=env)
    spent, ends = 0.0, time.monotonic() + 60
    while spent < 1:
        assert time.monotonic() < ends and process.poll() is None
        time.sleep(0.05)
        for file in place.glob(".runs/item/unfinished-*.json"):
            spent = json.loads(file.read_text())["seconds"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    (place / "wait").unlink()
    subprocess.run([sys.executable, "-c", SLOW], cwd=place, env=env, check=True)
    note = runs.note_of("item", OUT)
    assert note["tries"] == 2 and spent <= note["seconds"] < 60


def test_of_several_processes_the_first_notes(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    work()
    assert not home().exists()
    monkeypatch.setenv("RANK", "0")
    work()
    assert runs.note_of(ITEM, OUT)


def test_notes_lie_under_dvc_s_root(tmp_path, monkeypatch):
    """In `dvc exp run --temp` it is another folder, which stays."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))
    work()
    assert (tmp_path / "root/.runs" / ITEM).is_dir() and not Path(".runs").exists()


def test_a_note_that_cannot_be_written_costs_no_result(capsys):
    Path(".runs").touch()
    work()
    assert (OUT / "table").read_text() == "result"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("this output has no note and cannot be recorded")
