"""The moves of DVC that the pages name, one after another in a fresh clone of the smallest study.

Each says what it trains. A colleague then takes the experiments, and trains nothing.
"""

import re

import pytest

from copies import commit, identify, run
from reliability.small_study import GPT2, dvc, made

pytestmark = pytest.mark.slow
NONE: set[str] = set()
MOVES = [
    ("pull --run-cache", NONE),
    ("repro", NONE),
    ("repro --dry", NONE),
    ("status", NONE),
    ("stage list", NONE),
    ("dag --collapse-foreach-matrix", NONE),
    ("metrics show", NONE),
    ("exp run --name higher -S gpt2.lr=2e-3", {GPT2}),
    ("params diff", NONE),
    ("metrics diff --no-path", NONE),
    ("exp run --name back -S gpt2.lr=1e-3", NONE),
    ("exp run --name higher-again -S gpt2.lr=2e-3", NONE),
    ("exp run --name two-seeds -S gpt2.lr=1e-3 -S gpt2.seeds=[0,1]", {"gpt2_pretrain@gpt2-1"}),
    ("exp run --name one-seed -S gpt2.seeds=[0]", NONE),
    ("exp run --temp --name temporary -S gpt2.lr=3e-3", {GPT2}),
    ("exp run --queue --name queued -S gpt2.lr=4e-3,2e-3", NONE),
    ("queue status", NONE),
    ("exp run --run-all", NONE),  # what is printed of it are logs, cut where they are long
    ("queue logs queued-1", {GPT2}),
    ("queue logs queued-2", NONE),
    ("exp show --only-changed", NONE),
    ("exp diff higher temporary", NONE),
    ("exp apply temporary", NONE),
    ("repro", NONE),
    ("exp branch higher my-branch", NONE),
    ("exp push origin temporary queued-1", NONE),
    ("gc --all-commits --all-experiments --force", NONE),
    ("exp apply queued-1", NONE),
    ("exp remove back", NONE),
    ("exp list", NONE),
]
COLLEAGUE = [
    ("pull", NONE),
    ("exp list origin", NONE),
    ("exp pull origin temporary queued-1", NONE),
    ("exp apply temporary", NONE),
    ("repro", NONE),
    ("exp apply queued-1", NONE),
    ("repro", NONE),
]


def trained(text):
    return set(re.findall(r"Running stage '(gpt2_pretrain@[\w-]+)'", text))


def move(folder, moves):
    """Each must end well, without a traceback, and train what it says."""
    for command, expected in moves:
        ended = dvc(folder, *command.split())
        text = ended.stdout + ended.stderr
        assert ended.returncode == 0 and "Traceback" not in text, f"dvc {command}\n{text}"
        assert command == "exp run --run-all" or trained(text) == expected, f"dvc {command}\n{text}"


def clone(hub, folder):
    run(hub.parent, "git", "clone", "--quiet", hub, folder)
    identify(folder)
    return folder


def test_thirty_moves_and_a_colleague(tmp_path):
    author = made(tmp_path / "author")
    for name in ("storage", "hub"):
        (tmp_path / name).mkdir()
    hub = tmp_path / "hub"
    run(hub, "git", "init", "--quiet", "--bare", "--initial-branch=main")
    run(author, "dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    commit(author, "A remote")
    run(author, "git", "push", "--quiet", str(hub), "main")
    run(author, "dvc", "push", "--run-cache")
    move(clone(hub, tmp_path / "clone"), MOVES)
    move(clone(hub, tmp_path / "colleague"), COLLEAGUE)
