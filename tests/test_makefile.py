"""What `make` does first: an environment that is whole, or one line that says what is missing."""

import os
import shutil
import subprocess
import sys

import pytest

from imports import ROOT

OLD = """#!/bin/sh
[ "$1" = --version ] && echo "Python 3.10.12" && exit
exec {python} -c "import sys; sys.version_info = (3, 10, 12, 'final', 0); exec(sys.argv[1])" "$2"
"""
NEW = """#!/bin/sh
[ "$2" = venv ] || exec {python} "$@"
mkdir -p "$3/bin" && echo venv >> venvs.log
printf '#!/bin/sh\\necho "$@" >> calls.log\\n{then}\\n' > "$3/bin/python" && chmod +x "$3/bin/python"
"""
NO_NETWORK = "echo ERROR: Could not find a version that satisfies the requirement torch==2; exit 1"


@pytest.fixture
def project(tmp_path):
    """A folder with all that the set-up reads."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make(project, *arguments, python=NEW, then="exit 0"):
    """Run `make` with a program python3 of ours, which makes environments that do nothing but `then`."""
    folder = project / "programs"
    folder.mkdir(exist_ok=True)
    (folder / "python3").write_text(python.format(python=sys.executable, then=then))
    (folder / "python3").chmod(0o755)
    env = {**os.environ, "PATH": f"{folder}:/usr/bin:/bin"}
    return subprocess.run(["make", *arguments], cwd=project, env=env, capture_output=True, text=True)


def errors(result):
    assert result.returncode
    return [line for line in result.stderr.splitlines() if not line.startswith("make")]


def lines_of(file):
    return file.read_text().splitlines() if file.exists() else []


def test_an_old_python_is_refused_in_one_line_before_anything_is_made(project):
    help = "expected Python 3.11 or newer: name one, as in: make PYTHON=python3.12"
    assert errors(make(project, "setup", python=OLD)) == [f"error: python3 is Python 3.10.12: {help}"]
    assert errors(make(project, "setup", "PYTHON=python9")) == [f"error: python9: not found: {help}"]
    assert not (project / ".venv").exists()


def test_an_environment_that_is_whole_is_kept(project):
    made = make(project, "setup")
    assert made.returncode == 0 and "source .venv/bin/activate" in made.stdout, made.stderr
    calls = lines_of(project / "calls.log")
    assert "--requirement requirements.lock" in calls[0] and "--editable ." in calls[1]
    assert make(project, "setup").returncode == 0
    assert len(lines_of(project / "venvs.log")) == 1 and lines_of(project / "calls.log") == calls


def test_one_that_is_half_is_made_anew(project):
    (project / ".venv").mkdir()
    (project / ".venv/half").touch()
    made = make(project, "setup")
    assert made.returncode == 0 and "removing .venv: it has no .venv/.ready" in made.stdout, made.stderr
    assert (project / ".venv/.ready").exists() and not (project / ".venv/half").exists()


def test_other_requirements_are_installed_in_the_same_environment(project):
    make(project, "setup")
    (project / ".venv/more").touch()
    later = (project / ".venv/.ready").stat().st_mtime + 10
    os.utime(project / "requirements.lock", (later, later))
    assert make(project, "setup").returncode == 0
    assert (project / ".venv/more").exists() and len(lines_of(project / "venvs.log")) == 2


def test_without_a_network_there_is_one_line_and_the_next_set_up_starts_anew(project):
    (line,) = errors(make(project, "setup", then=NO_NETWORK))
    assert line.startswith("error: requirements.lock cannot be installed (ERROR: Could not find a version")
    assert "expected a package index that can be reached" in line
    assert not (project / ".venv/.ready").exists()
    assert make(project, "setup").returncode == 0


def test_pip_itself_without_a_network(project):
    """Its own words, where it may ask no index."""
    env = {**os.environ, "PIP_NO_INDEX": "1", "PATH": "/usr/bin:/bin"}
    command = ["make", "setup", f"PYTHON={sys.executable}"]
    (line,) = errors(subprocess.run(command, cwd=project, env=env, capture_output=True, text=True))
    assert "cannot be installed (ERROR: Could not find a version that satisfies the requirement" in line


@pytest.mark.parametrize(("content", "removed"), [("", True), ("{}", False), (None, False)])
def test_an_empty_lock_file_of_dvc_is_removed_and_said(project, content, removed):
    lock = project / ".dvc/tmp/rwlock"
    lock.parent.mkdir(parents=True)
    if content is not None:
        lock.write_text(content)
    done = make(project, "unlocked")
    assert done.returncode == 0
    assert ("removed .dvc/tmp/rwlock, which a kill had left empty" in done.stdout) == removed
    assert lock.exists() == (content == "{}")


def test_repro_looks_for_it():
    text = (ROOT / "Makefile").read_text()
    assert "\nrepro: $(READY) unlocked\n" in text


def test_another_python_than_the_environment_s_is_told_how_to_activate_it():
    """As where `python` is the system's: without site packages, as `python -S` has none."""
    command = [sys.executable, "-S", "-m", "study.stages.validate"]
    env = {"PYTHONPATH": "src"}
    (line,) = errors(subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True))
    assert line.startswith(f"error: {sys.executable} lacks the packages")
    assert line.endswith("source .venv/bin/activate")
