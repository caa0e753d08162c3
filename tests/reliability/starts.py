"""Starts of the stage gpt2_pretrain in folders of a tiny study: some are killed, some meet a limit."""

import json
import os
import shutil
import signal
import subprocess
import sys

from imports import ROOT
from study.base import params
from tiny_gpt2 import DUMPS, TINY, VOCAB, write_corpus

STEPS, EVERY = 24, 3
ENV = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
FILES = ["activations.parquet", "histograms.parquet", "losses.parquet", "model.safetensors", "run.json",
         "weights.parquet"]


def make(folder):
    """Write params and a corpus into the folder, which is all that the stage needs."""
    tree = params.load(ROOT / "params.yaml")
    more = {"steps": STEPS, "micro_batch_size": 4, "val_every": 5, "val_batches": 2}
    tree["gpt2"] |= {"preset": "tiny", "dumps": DUMPS, "checkpoint_every": EVERY}
    tree["gpt2_presets"]["tiny"] = TINY | more
    (folder / "params.yaml").write_text(json.dumps(tree))
    write_corpus(folder / "data/corpus", vocab=VOCAB)
    return folder


def copy(origin, folder):
    return shutil.copytree(origin, folder)


def run(folder, starts):
    """How each start ended, as killed_runs.py prints it; the plan for that script is written to `folder`."""
    plan = {"stage": "study.stages.gpt2_pretrain", "arguments": ["gpt2", "0"], "starts": starts}
    (folder / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, ROOT / "tests/reliability/killed_runs.py", folder / "plan.json"]
    result = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def killed(folder, how):
    """A plan's starts of a run that is killed in each of these ways, and then left alone."""
    starts = [{"folder": str(folder), "signal": signal.SIGKILL, **each} for each in how]
    return [*starts, {"folder": str(folder)}]


def log_of(folder):
    """The text that all starts in the folder wrote to stderr and stdout."""
    return (folder / "stderr.log").read_text()


def contents(folder):
    """The bytes of each file of the finished run in the folder."""
    files = {path.name: path.read_bytes() for path in (folder / "data/gpt2/gpt2-0").iterdir()}
    assert sorted(files) == FILES
    return files


def nothing_is_lost(folder, whole, ends, kills):
    """The files are those of `whole`, a run left alone, and each of the kills cost one interval at most.

    `ends` is how the starts ended: the killed ones and a last one that was left alone.
    """
    assert ends[-1]["status"] == 0, log_of(folder)
    assert contents(folder) == whole[0]
    assert sum(end["steps"] for end in ends) - STEPS <= kills * EVERY
    left = [file.name for file in (folder / ".checkpoints").glob("*/*")]
    half = [name for name in left if name.endswith(".partial")]  # stay for ten minutes, if in use after all
    last, mark = sorted(set(left) - set(half))
    assert (last[:9], mark) == (f"{STEPS:09d}", "finished"), "the last stays until DVC has the result"
    assert len(half) <= kills
