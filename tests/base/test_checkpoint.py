"""Checkpoints are whole or absent, are found by their key alone, and load without running code."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from study.base import checkpoint, checkpoint_folder, provenance


def state(step):
    return {"step": step, "rows": [[1, ["a"], torch.arange(3) * step]], "by_step": {4: torch.ones(2)}}


def test_the_newest_is_found_and_two_are_kept(tmp_path):
    for step in (100, 200, 1000):
        checkpoint.save(tmp_path / "run", step, state(step))
    newest = checkpoint.latest(tmp_path / "run")
    assert newest["step"] == 1000 and newest["rows"][0][2].tolist() == [0, 1000, 2000]
    assert len(list((tmp_path / "run").iterdir())) == checkpoint.KEPT


@pytest.mark.parametrize("damage", [
    lambda data: data[:-1], lambda data: data[: len(data) // 2], lambda data: b"",
    lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:]])
def test_a_damaged_one_is_passed_over(tmp_path, damage, capsys):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, state(step))
    newest = max(tmp_path.glob("*.pt"))
    newest.write_bytes(damage(newest.read_bytes()))
    assert checkpoint.latest(tmp_path)["step"] == 1
    assert "damaged" in capsys.readouterr().err


def test_half_written_ones_and_none_at_all(tmp_path):
    (tmp_path / "partial").write_bytes(b"half")
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "nothing") is None
    checkpoint_folder.remove(tmp_path / "nothing")


def test_removed_on_success(tmp_path):
    checkpoint.save(tmp_path / "run", 1, state(1))
    checkpoint_folder.remove(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def age(file, seconds):
    then = time.time() - seconds
    os.utime(file, (then, then))


@pytest.mark.parametrize("done", [lambda place: checkpoint.save(place, 2, state(2)),
                                  checkpoint_folder.remove])
def test_what_a_killed_process_left_is_cleaned_but_not_what_another_one_writes(tmp_path, done):
    long = 2 * checkpoint_folder.ABANDONED
    for name, seconds in (("7.partial", long), ("partial", long), ("8.partial", 1)):
        (tmp_path / name).write_bytes(b"half")
        age(tmp_path / name, seconds)
    checkpoint.save(tmp_path, 1, state(1))
    done(tmp_path)
    assert [file.name for file in tmp_path.glob("*partial")] == ["8.partial"]


@pytest.mark.parametrize("done", [checkpoint.latest, checkpoint_folder.remove])
def test_a_folder_that_another_process_removes_while_it_is_listed(tmp_path, monkeypatch, done):
    place = tmp_path / "run"
    checkpoint.save(place, 1, state(1))
    scandir = os.scandir

    def removed_first(path):
        if Path(path) == place:
            monkeypatch.undo()
            checkpoint_folder.remove(place)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", removed_first)
    assert done(place) is None
    assert os.scandir is scandir and not place.exists()  # the removal did happen meanwhile


@pytest.mark.parametrize("gone", ["run", "run/group-0"])
def test_a_folder_that_another_process_removes_while_it_is_made(tmp_path, monkeypatch, gone):
    """The folder vanishes after mkdir has seen that it exists; or a parent vanishes once it is made."""
    place, mkdir = tmp_path / "run/group-0", os.mkdir
    if gone != "run":
        place.mkdir(parents=True)

    def removed(path, *mode):
        if Path(path) != tmp_path / gone:
            return mkdir(path, *mode)
        monkeypatch.undo()
        try:
            mkdir(path, *mode)
        finally:
            for folder in [*tmp_path.glob("run/*"), tmp_path / "run"]:
                folder.rmdir()

    monkeypatch.setattr(os, "mkdir", removed)
    checkpoint.save(place, 1, state(1))
    assert os.mkdir is mkdir and checkpoint.latest(place)["step"] == 1


SAVE_AND_REMOVE = """
import sys
from pathlib import Path
import torch
from study.base import checkpoint, checkpoint_folder, provenance
for step in range(1, 61):
    checkpoint.save(Path(sys.argv[1]), step, {"step": step, "x": torch.ones(100)})
    newest = checkpoint.latest(Path(sys.argv[1]))
    assert newest is None or torch.equal(newest["x"], torch.ones(100))
    if step % 3 == 0:
        checkpoint_folder.remove(Path(sys.argv[1]))
"""


def test_two_processes_with_one_folder(tmp_path):
    """As when a run is queued twice: each process saves, reads, and removes everything at its end."""
    command = [sys.executable, "-c", SAVE_AND_REMOVE, str(tmp_path / "run")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, stderr = process.communicate(timeout=900)
        assert process.returncode == 0, stderr
        assert "damaged" not in stderr
    assert list(tmp_path.iterdir()) == []


def test_the_key_holds_params_data_and_code(monkeypatch):
    given = checkpoint.folder({"lr": 1e-3}, 0, "data")
    assert given == checkpoint.folder({"lr": 1e-3}, 0, "data")
    others = [checkpoint.folder({"lr": 1e-4}, 0, "data"), checkpoint.folder({"lr": 1e-3}, 1, "data"),
              checkpoint.folder({"lr": 1e-3}, 0, "other")]
    assert "study.base.checkpoint" in provenance.loaded_code()
    monkeypatch.setattr(checkpoint, "loaded_code", lambda: {"variance_dynamics.base.seeding": "changed"})
    others.append(checkpoint.folder({"lr": 1e-3}, 0, "data"))
    assert len({given, *others}) == 5


def test_a_planted_pickle_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "partial").write_bytes(b"")
    torch.save({"step": Evil()}, tmp_path / "evil")
    digest = hashlib.sha256((tmp_path / "evil").read_bytes()).hexdigest()
    (tmp_path / "evil").rename(tmp_path / f"000000001-{digest}.pt")
    assert checkpoint.latest(tmp_path) is None
    assert not (tmp_path / "ran").exists()


def test_a_torn_file_whose_sum_is_right_is_passed_over(tmp_path, capsys):
    """It was torn before the sum was taken, as when two processes had written to one file."""
    checkpoint.save(tmp_path, 1, {"step": 1})
    checkpoint.save(tmp_path, 2, {"step": 2})
    (newest,) = tmp_path.glob("000000002-*.pt")
    torn = newest.read_bytes()[:-100]
    newest.unlink()
    (tmp_path / f"000000003-{hashlib.sha256(torn).hexdigest()}.pt").write_bytes(torn)
    assert checkpoint.latest(tmp_path) == {"step": 1}
    assert "000000003" in capsys.readouterr().err


def test_processes_of_one_number_write_to_files_of_their_own(tmp_path, monkeypatch):
    """As in two containers that share the folder."""
    written = []
    save = torch.save

    def noted(state, stream):
        written.append(stream.name)
        save(state, stream)

    monkeypatch.setattr(torch, "save", noted)
    checkpoint.save(tmp_path, 1, {"step": 1})
    monkeypatch.setattr(checkpoint_folder, "TOKEN", "of another process")
    checkpoint.save(tmp_path, 1, {"step": 1})
    assert len(set(written)) == 2


def test_it_lies_under_dvc_s_root(monkeypatch):
    monkeypatch.setenv("DVC_ROOT", "/some/where")
    assert str(checkpoint.folder("facts").parent) == "/some/where/.checkpoints"
