"""Several processes give what one gives: the same losses and dumps, to rounding, from the same batches."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from study.base import params
from study.gpt2 import processes
from tiny_gpt2 import DUMPS, ROOT, TINY, write_corpus
from variance_dynamics.base.errors import BadInput

PAGE = ROOT / "docs" / "scale.md"
SCRIPT = ROOT / "tests" / "in_processes.py"
TABLES = ("weights", "losses", "activations")
ROUNDING = {"weights": 5e-3, "losses": 1e-5, "activations": 1e-5}
"""Relative; loosest is the weights' epsilon_share, where gradients are nothing but rounding."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    write_corpus(folder / "corpus")
    return folder


def trained(place, processes, jobs, restarts=0):
    """Run the jobs in that many processes under torchrun, 0 for none; gives the finished command."""
    file = place / f"jobs-{jobs[0]['out']}.json"
    file.write_text(json.dumps([{**job, "out": str(place / job["out"]), "corpus": str(place / "corpus")}
                                for job in jobs]))
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}",
                f"--max-restarts={restarts}"]
    command = [sys.executable, *(torchrun if processes else []), str(SCRIPT), str(file)]
    return subprocess.run(command, env=environment(place), capture_output=True, text=True, timeout=900)


def environment(place):
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    own_store = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # as the page says: else a restart may hang
    return os.environ | own_store | {"PYTHONPATH": paths, "DVC_ROOT": str(place), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def alone(place):
    """The folder of a run by one process without torchrun."""
    ended = trained(place, 0, [{"out": "alone"}])
    assert ended.returncode == 0, ended.stderr
    return place / "alone"


def close(one, other):
    for name in TABLES:
        a, b = (pd.read_parquet(folder / f"{name}.parquet") for folder in (one, other))
        pd.testing.assert_frame_equal(a.drop(columns="value"), b.drop(columns="value"))
        np.testing.assert_allclose(b.value, a.value, rtol=ROUNDING[name], atol=1e-9, err_msg=name)
        std = a.stat == "std"
        np.testing.assert_allclose(b.value[std], a.value[std], rtol=1e-6)


def read(place, out, rank):
    """Step and rows of each read of tokens by a process."""
    reads = json.loads((place / f"{out}.read-{rank}.json").read_text())
    return [(step, tuple(rows)) for step, *rows in reads]


def same_bytes(one, other):
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {
        path.name: path.read_bytes() for path in other.iterdir()}


@pytest.mark.parametrize(("count", "mode"), [
    (3, "fsdp"),
    pytest.param(3, "ddp", marks=pytest.mark.slow),
    pytest.param(2, "fsdp", marks=pytest.mark.slow),
])
def test_several_processes_give_what_one_gives(place, alone, count, mode):
    """Four micro batches: two each for two processes, uneven for three."""
    out = f"{mode}-{count}"
    ended = trained(place, count, [{"out": out, "changes": {"sharding": mode}}])
    assert ended.returncode == 0, ended.stderr
    close(alone, place / out)
    for rank in range(count):
        micro = {min(rank + turn * count, 3) for turn in range(2)}  # what is repeated has weight 0
        assert {rows for _, rows in read(place, out, rank)} == {(2 * each, 2 * each + 1) for each in micro}
    assert not list(place.glob(f"{out}.tables-*")), "the first process alone writes"


@pytest.mark.slow
def test_one_process_of_torchrun_gives_the_same_bytes(place, alone):
    jobs = [{"out": f"{mode}-1", "changes": {"sharding": mode}} for mode in ("ddp", "fsdp")]
    assert trained(place, 1, jobs).returncode == 0
    for job in jobs:
        same_bytes(alone, place / job["out"])


@pytest.mark.slow
def test_more_processes_than_micro_batches_are_refused(place):
    ended = trained(place, 5, [{"out": "five", "changes": {"sharding": "fsdp"}}])
    assert ended.returncode != 0
    assert "5 processes: expected at most one for each micro batch" in ended.stderr


@pytest.mark.slow
def test_processes_that_do_not_share_their_checkpoints_are_refused(place):
    """Only the first finds the checkpoint: without a word before it, each would wait for the other."""
    assert trained(place, 2, [{"out": "apart", "stops": 1}]).returncode == 0
    ended = trained(place, 2, [{"out": "apart", "elsewhere": True}])
    assert ended.returncode != 0
    assert "finds step 0, the first another: expected a folder that all processes share" in ended.stderr
    assert trained(place, 0, [{"out": "apart"}]).returncode == 0


@pytest.mark.slow
def test_resuming_with_another_number_of_processes(place, alone):
    """A step by two sharded processes, by three, alone, and by two that each hold all; the rest alone."""
    parts = ((2, "fsdp"), (3, "fsdp"), (0, "ddp"), (2, "ddp"))
    for step, (count, mode) in enumerate(parts, start=1):
        ended = trained(place, count, [{"out": "mixed", "stops": step, "changes": {"sharding": mode}}])
        assert ended.returncode == 0, ended.stderr
    assert sorted(path.name[:9] for path in (place / ".checkpoints").glob("*/*.pt"))[-1] == "000000004"
    assert trained(place, 0, [{"out": "mixed"}]).returncode == 0
    close(alone, place / "mixed")


@pytest.mark.slow
@pytest.mark.reliability
def test_torchrun_restarts_after_a_death_and_loses_at_most_one_interval(place, alone):
    job = {"out": "restarted", "dies": 7, "changes": {"sharding": "fsdp"}}
    ended = trained(place, 2, [job], restarts=1)
    assert (place / "restarted.died").exists() and ended.returncode == 0, ended.stderr
    close(alone, place / "restarted")


LAUNCH = """
import sys
from study.gpt2.processes import launch
launch(2, "cpu", "in_processes", sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.reliability
def test_a_process_that_dies_ends_all_with_a_line_and_the_next_run_goes_on(place, alone):
    jobs = place / "dying.json"
    jobs.write_text(json.dumps([{"out": str(place / "died"), "corpus": str(place / "corpus"), "dies": 7}]))
    command = [sys.executable, "-c", LAUNCH, str(jobs)]
    first, second = (subprocess.run(command, env=environment(place), capture_output=True, text=True,
                                    timeout=900) for _ in range(2))
    assert first.returncode == 1 and first.stderr.splitlines()[-1] == (
        "error: process 1 of 2 ended with 9: all are stopped; "
        "the next run continues from the last checkpoint")
    assert second.returncode == 0, second.stderr
    assert min(step for step, _ in read(place, "died", 0)) == 4, "the second continues from the checkpoint"
    close(alone, place / "died")


def stage(place, corpus, **changes):
    """Stage gpt2_pretrain in a folder with tiny params and that corpus; gives the finished command."""
    command = [sys.executable, "-m", "study.stages.gpt2_pretrain", "gpt2", "0"]
    return subprocess.run(command, cwd=prepared(place / "stage", corpus, **changes), env=environment(place),
                          capture_output=True, text=True, timeout=900)


def prepared(folder, corpus, **changes):
    """A folder with tiny params and that corpus."""
    tree = params.load(ROOT / "params.yaml")
    tree["gpt2"] |= {"preset": "tiny", "precision": "fp32", "dumps": DUMPS, "val_every": 5, "val_batches": 2,
                     "checkpoint_every": 4} | changes
    tree["gpt2_presets"]["tiny"] = TINY | {"micro_batch_size": 2}
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "corpus").unlink(missing_ok=True)
    (folder / "data" / "corpus").symlink_to(corpus)
    YAML().dump(tree, folder / "params.yaml")
    return folder


def test_the_stage_starts_its_processes(place, alone):
    ended = stage(place, place / "corpus", processes=2)
    assert ended.returncode == 0, ended.stderr
    close(alone, place / "stage" / "data" / "gpt2" / "gpt2-0")
    assert len(list((place / ".checkpoints").glob("*/finished"))) == 1


@pytest.mark.slow
@pytest.mark.reliability
def test_a_process_that_fails_ends_the_stage_with_a_line(place):
    ended = stage(place, place / "nowhere", processes=2)
    assert ended.returncode != 0
    assert "error: data/corpus: no corpus" in ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("error: process ") and "of 2 ended with 2" in last


@pytest.mark.slow
def test_several_machines_as_the_page_says(place, alone):
    """Two of torchrun's agents in folders of their own; all else is the page's command."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    start = r"^\$ PYTHONPATH=src TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 (torchrun (?:.*\\\n)*.*)"
    (command,) = re.findall(start, PAGE.read_text(), re.MULTILINE)
    for text, here in (("HOST:29500", f"localhost:{port} --local-addr localhost"), ("node 8", "node 1")):
        assert text in command
        command = command.replace(text, here)
    env = environment(place)
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    folders = [prepared(place / f"machine-{number}", place / "corpus") for number in range(2)]
    agents = [subprocess.Popen(command, shell=True, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
              for folder in folders]
    for agent in agents:
        _, stderr = agent.communicate(timeout=300)
        assert agent.returncode == 0, stderr
    (written,) = (path for folder in folders for path in folder.glob("data/gpt2/gpt2-0"))
    close(alone, written)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(BadInput, match=r"gpt2.processes is 2: expected at most one for each GPU here, 1"):
        processes.launch(2, "cuda", "no.module", [])
