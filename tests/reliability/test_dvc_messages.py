"""docs/when-something-goes-wrong.md: each message comes about, and the page's commands mend it."""

import json
import os
import re
import shutil
import signal
import subprocess

import pytest
import yaml

from copies import identify, run
from imports import ROOT
from reliability.small_study import ENV, GPT2, OTHER_LR, contents, dvc, made, wait_until

pytestmark = pytest.mark.reliability
PAGE = (ROOT / "docs/when-something-goes-wrong.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return made(tmp_path_factory.mktemp("messages") / "project")


@pytest.fixture
def project(done, tmp_path):
    return shutil.copytree(done, tmp_path / "project", symlinks=True)


@pytest.fixture
def row(request):
    """What is printed and what to do, as the page's row that names the test says it."""
    (line,) = [line for line in PAGE.splitlines() if f"::{request.node.originalname}`" in line]
    printed, _, commands, _ = line.strip("| ").split(" | ")
    return re.findall("`(.+?)`", printed), re.findall("`(.+?)`", commands)


def shell(folder, command, env=ENV):
    """Run a command of bash, whose own place is known where PATH holds nothing."""
    bash = [str(shutil.which("bash")), "-ec", command]
    return subprocess.run(bash, cwd=folder, env=env, capture_output=True, text=True)


def mend(folder, row, **more):
    """Run the row's commands, of which none may fail."""
    for command in row[1]:
        ended = shell(folder, command, ENV | more)
        assert ended.returncode == 0, command + ended.stdout + ended.stderr
    return ended.stdout


def fails(folder, row, *command):
    """A command of DVC that must fail with the row's message."""
    ended = dvc(folder, *command)
    assert ended.returncode and row[0][0] in ended.stdout + ended.stderr, ended.stdout + ended.stderr


def clean(folder):
    return not run(folder, "git", "status", "--short").stdout and "up to date" in dvc(folder, "status").stdout


def test_no_environment(project, row, tmp_path):
    bare = {**os.environ, "PATH": str(tmp_path / "bin")}
    (tmp_path / "bin").mkdir()
    for name in ("env", "sh", "git"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    ended = shell(project, f"{shutil.which('dvc')} repro --force --single-item validate", bare)
    assert ended.returncode and row[0][0] in re.sub("[‘’]", "'", ended.stderr), ended.stderr
    assert row[0][1] in shell(project, "sh -c 'dvc repro'", bare).stderr
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/activate").write_text(f"PATH={ENV['PATH']}\n")
    assert shell(project, f"{row[1][0]}; dvc repro", bare).returncode == 0


def test_a_download_without_git(project, row):
    shutil.rmtree(project / ".git")
    fails(project, row, "exp", "run", "-S", f"gpt2.lr={OTHER_LR}", "validate")
    names = {f"GIT_{who}_{what}": "reader@example.org" for who in ("AUTHOR", "COMMITTER")
             for what in ("NAME", "EMAIL")}
    mend(project, row, **names)
    assert dvc(project, "exp", "run", "-S", f"gpt2.lr={OTHER_LR}", "validate").returncode == 0


@pytest.mark.parametrize("content", ["", '{"read": {'])
def test_a_corrupt_lock_file(project, row, content):
    (project / ".dvc/tmp/rwlock").write_text(content)
    fails(project, row, "repro")
    mend(project, row)
    assert dvc(project, "repro").returncode == 0 and clean(project)


def test_a_lock_that_nobody_holds(project, row):
    writer = {str(project / "data/validated.json"): {"pid": os.getpid(), "cmd": "dvc repro"}}
    (project / ".dvc/tmp/rwlock").write_text(json.dumps({"write": writer, "read": {}}))
    fails(project, row, "repro", "--force", "--single-item", "validate")
    mend(project, row)
    assert dvc(project, "repro", "--force", "--single-item", "validate").returncode == 0


def test_arms_and_seeds_that_are_no_lists(project, row):
    for wrong in ("gpt2.arms=gpt2", "gpt2.seeds=3"):
        fails(project, row, "exp", "run", "-S", wrong)
        assert clean(project)
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("  seeds:\n  - 0\n", "  seeds: 0\n", 1))
    fails(project, row, "repro")
    mend(project, row)
    assert clean(project)
    assert dvc(project, "exp", "run", "-S", "gpt2.arms=[gpt2]", "-S", "gpt2.seeds=[0]").returncode == 0


def test_a_path_that_is_not_ascii(done, row, tmp_path):
    project = shutil.copytree(done, tmp_path / "naïve 项目", symlinks=True)
    assert dvc(project, "repro").returncode == 0
    temporary = ("exp", "run", "--temp", "-S", "plot.dpi=70", "validate")
    fails(project, row, *temporary)
    assert row[1] == ['mv "$PWD" /tmp/variance-dynamics']
    assert dvc(project.rename(tmp_path / "project"), *temporary).returncode == 0


def cloned(project, folder):
    run(project, "git", "clone", "--quiet", ".", folder)
    identify(folder)
    return folder


def test_a_fresh_clone_without_a_remote(project, row, tmp_path):
    clone = cloned(project, tmp_path / "clone")
    for command in ("pull", "checkout"):
        fails(clone, row, command)
    mend(clone, row)
    assert contents(clone) == contents(project)


def test_a_dry_run_in_a_fresh_clone(project, row, tmp_path):
    clone = cloned(project, tmp_path / "clone")
    fails(clone, row, "repro", "--dry")
    assert "Data and pipelines are up to date" in mend(clone, row)


def test_what_gc_removed(project, row):
    assert dvc(project, "exp", "run", "--temp", "--name", "mine", "-S", f"gpt2.lr={OTHER_LR}").returncode == 0
    kept = shutil.copytree(project, project.parent / "kept", symlinks=True)
    assert dvc(kept, "gc", "--all-commits", "--all-experiments", "--force").returncode == 0
    assert dvc(kept, "exp", "apply", "mine").returncode == 0
    assert dvc(project, "gc", "--workspace", "--force").returncode == 0
    fails(project, row, "exp", "apply", "mine")
    mend(project, row)
    assert contents(project) == contents(kept)


def test_own_files_in_a_copy(project, row):
    (project / "data/raw/text").mkdir()
    documents = ["word and word again\n" * 500, "more\n" * 400]
    (project / "data/raw/text/mine.txt").write_text("<|endoftext|>\n".join(documents))
    fails(project, row, "exp", "run", "--temp", "-S", "corpus.source=files", "corpus")
    ended = dvc(project, "exp", "run", "--temp", "-S", "corpus.source=files", "corpus")
    assert "--copy-paths data/raw/text" in ended.stdout + ended.stderr
    mend(project, row)


def test_a_killed_experiment(project, row):
    process = subprocess.Popen(["dvc", "exp", "run", "-S", f"gpt2.lr={OTHER_LR}"], cwd=project, env=ENV,
                               start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kept = project / ".checkpoints"
    wait_until(lambda: list(kept.glob("*/*.pt")) or process.poll() is not None, "a step")
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert row[0][0] in run(project, "git", "status", "--short").stdout
    mend(project, row)
    assert clean(project)


def test_a_lock_that_lost_entries(project, row):
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    del lock["stages"][GPT2]
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert row[0][0] in dvc(project, "status").stdout
    mend(project, row)
    assert clean(project)
