"""One queue worker per GPU, as docs/scale.md says: each worker keeps the device it was started with."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs" / "scale.md"
STAGE = """
import os, pathlib, sys, time
meet, device = pathlib.Path(sys.argv[1]), os.environ["CUDA_VISIBLE_DEVICES"]
(meet / device).touch()
while len(list(meet.iterdir())) < 2:  # both must be at work at once; the test stops what waits in vain
    time.sleep(0.1)
pathlib.Path("device.txt").write_text(device)
"""
PIPELINE = """
stages:
  train:
    cmd: '"{python}" stage.py "{meet}"'
    deps: [stage.py]
    params: [seed]
    outs: [device.txt: {{cache: false}}]
"""


@pytest.fixture
def project(tmp_path):
    meet, folder = tmp_path / "meet", tmp_path / "project"
    for each in (meet, folder):
        each.mkdir()
    (folder / "stage.py").write_text(STAGE)
    (folder / "params.yaml").write_text("seed: 0\n")
    (folder / "dvc.yaml").write_text(PIPELINE.format(python=sys.executable, meet=meet))
    run(folder, "git init --quiet && dvc init --quiet && git add . && git commit --quiet --message project")
    yield folder
    run(folder, "dvc queue stop --kill")


def run(folder, line):
    here = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = os.environ | {"PATH": here, "DVC_NO_ANALYTICS": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "tests", f"GIT_{role}_EMAIL": "tests@example.org"}
    told = folder.parent / "told"  # no pipe, which a worker would hold open for as long as it lives
    with told.open("w") as file:
        subprocess.run(line, shell=True, cwd=folder, env=env, check=True, stdout=file, timeout=120)
    return told.read_text()


def wait(folder, line, until, most_seconds=180):
    late = time.monotonic() + most_seconds
    while not until(told := run(folder, line)):
        assert time.monotonic() < late, told
        time.sleep(0.5)


@pytest.mark.slow
def test_each_worker_keeps_its_device(project):
    starts = [line[2:].partition("  #")[0] for line in DOCS.read_text(encoding="utf-8").splitlines()
              if line.startswith("$ CUDA_VISIBLE_DEVICES")]
    run(project, "dvc exp run --quiet --queue -S seed=1,2")
    for number, start in enumerate(starts, 1):
        assert "Started '1' new" in run(project, start)
        if number < len(starts):
            wait(project, "dvc queue status", lambda told: "1 active" in told)
    wait(project, "dvc queue status", lambda told: told.count("Success") == 2)
    refs = run(project, "git for-each-ref --format='%(refname)' 'refs/exps/??/*/*'").split()
    assert sorted(run(project, f"git show {ref}:device.txt") for ref in refs) == ["0", "1"]
