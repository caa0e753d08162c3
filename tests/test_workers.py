"""One queue worker per GPU, as docs/scale.md says: each worker keeps the device it was started with."""

import subprocess
import sys
import time

import pytest

from copies import environment, repository
from imports import ROOT

DOCS = ROOT / "docs" / "scale.md"
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
    repository(folder)
    run(folder, "dvc init --quiet && git add . && git commit --quiet --message project")
    yield folder
    run(folder, "dvc queue stop --kill")


def run(folder, line):
    """What the command line prints."""
    output = folder.parent / "output"  # no pipe, which a worker would hold open for as long as it lives
    with output.open("w") as file:
        subprocess.run(line, shell=True, cwd=folder, env=environment(), check=True, stdout=file, timeout=120)
    return output.read_text()


def wait(folder, line, until, most_seconds=180):
    late = time.monotonic() + most_seconds
    while not until(output := run(folder, line)):
        assert time.monotonic() < late, output
        time.sleep(0.5)


@pytest.mark.slow
def test_each_worker_keeps_its_device(project):
    starts = [line[2:].partition("  #")[0] for line in DOCS.read_text(encoding="utf-8").splitlines()
              if line.startswith("$ CUDA_VISIBLE_DEVICES")]
    run(project, "dvc exp run --quiet --queue -S seed=1,2")
    for number, start in enumerate(starts, 1):
        assert "Started '1' new" in run(project, start)
        if number < len(starts):
            wait(project, "dvc queue status", lambda output: "1 active" in output)
    wait(project, "dvc queue status", lambda output: output.count("Success") == 2)
    refs = run(project, "git for-each-ref --format='%(refname)' 'refs/exps/??/*/*'").split()
    assert sorted(run(project, f"git show {ref}:device.txt") for ref in refs) == ["0", "1"]
