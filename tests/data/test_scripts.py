"""Corpora in other scripts: from the file to GPT-2 that learns it, in bounded memory."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from copies import alone
from data import scripts
from imports import ROOT
from study.base import params
from study.data import tokenizer

every_script = pytest.mark.parametrize("script", scripts.SCRIPTS)
SEPARATOR = "\n<|endoftext|>\n"
STAGE = """
import sys
from pathlib import Path
from study.stages import {name}
sys.argv = ["{name}", *sys.argv[1:]]
{name}.main()
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024)
"""


def stage(folder, name, *arguments):
    """Run a stage in a process of its own; returns what it prints and its peak memory in MiB.

    The peak is not that of `getrusage`, which a new process takes over from the one that starts it.
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", STAGE.format(name=name), *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, peak = done.stdout.splitlines()
    return lines, int(peak)


def study(folder, texts, **corpus):
    """A folder with a text file of these documents and the params of the smoke study."""
    (folder / "data/raw/text").mkdir(parents=True)
    with (folder / "data/raw/text/all.txt").open("w", encoding="utf-8") as file:
        file.writelines(text + SEPARATOR for text in texts)
    tree = alone(params.load(ROOT / "params.yaml")) | {"study": "smoke"}
    tree["corpus"] |= {"source": "files", **corpus}
    (folder / "params.yaml").write_text(json.dumps(tree))


@every_script
def test_a_corpus_in_another_script_through_the_smoke_study_s_gpt2(tmp_path, script):
    texts = list(scripts.documents(script, 1_000_000))
    study(tmp_path, texts)
    lines, peak = stage(tmp_path, "corpus")
    size = sum(len(text.encode()) + 1 for text in texts)
    assert lines[0] == f"data/raw/text/all.txt: {len(texts)} documents, {size} bytes"
    assert peak < 400
    manifest = json.loads((tmp_path / "data/corpus/manifest.json").read_text())
    bpe = tokenizer.load(tmp_path / "data/corpus/tokenizer.json")
    ids = np.fromfile(tmp_path / "data/corpus/val.bin", dtype=manifest["dtype"])
    held_out = [bpe.decode(part.tolist(), skip_special_tokens=False)
                for part in np.split(ids, np.flatnonzero(ids == manifest["end_of_text"]))]
    held_out = [text.removeprefix(tokenizer.END_OF_TEXT) for text in held_out]
    assert {text[:-1] for text in held_out if text} <= set(texts)
    assert manifest["val"]["bytes"] == pytest.approx(0.05 * size, rel=0.2)
    assert manifest["train"]["bytes_per_token"] > 1.5, "the tokenizer has merged bytes"
    stage(tmp_path, "gpt2_pretrain", "gpt2", "0")
    losses = pd.read_parquet(tmp_path / "data/gpt2/gpt2-0/losses.parquet").query("stat == 'train_loss'").value
    assert np.isfinite(losses).all() and len(losses) == 20
    assert losses.iloc[-5:].mean() < losses.iloc[:5].mean() - 0.05


@pytest.mark.slow
@every_script
@pytest.mark.parametrize("megabytes", [20, 100])
def test_memory_stays_bounded_whatever_the_script_and_the_size(tmp_path, script, megabytes):
    study(tmp_path, scripts.documents(script, megabytes * 1_000_000))
    lines, peak = stage(tmp_path, "corpus")
    print(script, megabytes, "MB: peak", peak, "MiB;", *(line for line in lines if "tokenizer" in line))
    assert peak < 900
    (tmp_path / "data/raw/text/all.txt").unlink()
