"""A GPT-2 run of a second, and a corpus that it can learn: each token is mostly followed by the next one."""

import json
from pathlib import Path

import numpy as np

from study.base import params
from study.gpt2.params import resolve

ROOT = Path(__file__).resolve().parent.parent
VOCAB = 61
TINY = {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_ctx": 16, "vocab_size": VOCAB, "batch_size": 8,
        "micro_batch_size": 8, "steps": 12, "warmup_steps": 4}
DUMPS = {"every_step_until": 3, "per_decade": 2, "every": 6, "windows": [2, 5], "histogram_layer": 2,
         "histogram_bins": 11, "histogram_dumps": 3}


def tiny_run(arm="gpt2", **changes):
    """The default study's run with a tiny shape; `changes` are keys of Gpt2Run."""
    tree = params.read(ROOT / "params.yaml")
    knobs = {"precision": "fp32", "dumps": DUMPS, "val_every": 5, "val_batches": 2, "checkpoint_every": 4}
    tree["gpt2"] |= {"preset": "tiny", "arms": [arm]}
    tree["gpt2_presets"]["tiny"] = TINY | knobs | changes
    return resolve(tree, arm)


def write_corpus(folder, tokens=4000, vocab=VOCAB):
    """train.bin, val.bin and the manifest as stage corpus writes them."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, count in (("train", tokens), ("val", tokens // 8)):
        jumps = np.where(generator.random(count) < 0.9, 1, generator.integers(1, vocab, count))
        (np.cumsum(jumps) % vocab).astype("<u2").tofile(folder / f"{name}.bin")
    (folder / "manifest.json").write_text(json.dumps({"vocab_size": vocab, "dtype": "uint16"}))
    return folder
