"""A finished run's last checkpoint stays until DVC's cache holds the run's output, and then no longer."""

import os
import time

import pytest
import yaml

from copies import repository, run
from study.base import checkpoint, checkpoint_folder, guard


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A DVC repository with two outputs and the checkpoints of the runs that made them."""
    repository(tmp_path)
    run(tmp_path, "dvc", "init", "--quiet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for name in ("one", "two"):
        (tmp_path / name / "deep é/er").mkdir(parents=True)
        for file in ("b.txt", "a-b", "a/x", "deep é/er/ü.bin", "empty"):
            (tmp_path / name / file).parent.mkdir(exist_ok=True)
            (tmp_path / name / file).write_text(f"{name} {file}" * (file != "empty"))
        finished(tmp_path / ".checkpoints" / name, tmp_path / name)
    return tmp_path


def finished(place, out, steps=(1, 2)):
    for step in steps:
        checkpoint.save(place, step, {"step": step})
        checkpoint.save(place / "group-0", step, {"step": step})
    checkpoint_folder.finish(place, out)


def kept(project):
    return sorted(path.name for path in (project / ".checkpoints").iterdir())


def test_a_folder_s_name_is_dvc_s(project):
    run(project, "dvc", "add", "--quiet", "one")
    (out,) = yaml.safe_load((project / "one.dvc").read_text())["outs"]
    assert checkpoint_folder.dvc_name(project / "one") == out["md5"]


def test_it_stays_until_the_output_is_in_the_cache(project):
    checkpoint_folder.clean()
    assert kept(project) == ["one", "two"]
    run(project, "dvc", "config", "cache.dir", str(project / "elsewhere"))
    run(project, "dvc", "add", "--quiet", "one")
    with guard.unchanged(project / "other", dict):
        assert kept(project) == ["two"], "each stage cleans when it starts"
    assert checkpoint.latest(project / ".checkpoints/two")["step"] == 2


def test_the_last_one_alone_is_kept(project):
    assert len(list((project / ".checkpoints/one").glob("*.pt"))) == 1
    assert checkpoint.latest(project / ".checkpoints/one")["step"] == 2


def test_a_run_too_short_for_a_checkpoint_leaves_nothing(project):
    checkpoint_folder.finish(project / ".checkpoints/short", project / "one")
    assert kept(project) == ["one", "two"]


def test_few_are_kept_of_what_dvc_never_files(project):
    """As of stages that are run by hand."""
    names = [f"by-hand-{number}" for number in range(checkpoint_folder.UNFILED)]
    for number, name in enumerate(names, start=1):
        finished(project / ".checkpoints" / name, project / "one")
        then = time.time() + number
        os.utime(project / ".checkpoints" / name / checkpoint_folder.FINISHED, (then, then))
    checkpoint.save(project / ".checkpoints/in-work", 1, {"step": 1})
    checkpoint_folder.clean()
    assert kept(project) == [*names, "in-work"]


@pytest.mark.parametrize("text", [b"", b"ab", b"\xff", b"/dev/null"])
def test_a_mark_that_is_damaged_is_of_what_dvc_never_filed(project, text):
    (project / ".checkpoints/one" / checkpoint_folder.FINISHED).write_bytes(text)
    checkpoint_folder.clean()
    assert kept(project) == ["one", "two"]


def test_outside_of_dvc_nothing_is_filed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    checkpoint_folder.clean()
    (tmp_path / "out").mkdir()
    finished(tmp_path / ".checkpoints/run", tmp_path / "out")
    checkpoint_folder.clean()
    assert kept(tmp_path) == ["run"]
    assert (tmp_path / ".checkpoints/run" / checkpoint_folder.FINISHED).read_text().endswith(".dir")


def test_what_killed_processes_left_is_cleaned_in_every_folder(project):
    for name in ("killed/7-a.partial", "killed/group-0/7-a.partial", "writing/8-b.partial"):
        file = project / ".checkpoints" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half")
        then = time.time() - 2 * checkpoint_folder.ABANDONED * name.startswith("killed")
        os.utime(file, (then, then))
    checkpoint_folder.clean()
    assert kept(project) == ["one", "two", "writing"]
