"""Train preset gpt2 for several arms and seeds in one process, in pieces: what is unfinished goes on later.

The corpus in data/corpus must hold GPT-2's own tokens (params corpus.tokenizer.kind: gpt2). params.yaml stays
as it is; the changes below are laid over it. See paper_scale.sh.
"""

import argparse
import json
import shutil
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import torch

from variance_dynamics import params, rows
from variance_dynamics.errors import one_line
from variance_dynamics.training import checkpoint, pretrain_tables
from variance_dynamics.training.batches import open_corpus
from variance_dynamics.training.gpt2_params import Gpt2Run, resolve
from variance_dynamics.training.pretrain import pretrain

RUNS = "gpt2-0 std_005-0 std_1-0 wd_0-0 gpt2-1 constant_lr-0 gpt2-2"
TABLES = ("weights", "losses", "activations", "histograms")
RESERVE = 40
"""Seconds kept back of a piece for a checkpoint (about 3 GB) and the tables."""
WORTH_IT = 30
"""A run is not begun or resumed with fewer seconds than this."""


@one_line
def main() -> None:
    asked = arguments()
    deadline = time.monotonic() + asked.seconds - (0 if asked.tiny else RESERVE)
    tree = changed(params.read(), asked)
    for name in asked.runs.split():
        if (asked.out / name / "speed.json").exists():
            continue
        short = deadline - time.monotonic() < WORTH_IT and not asked.tiny
        if short or not train(tree, name, asked.out / name, asked.corpus, deadline):
            print(f"{name}: unfinished; run this again to go on", file=sys.stderr)
            break
    else:
        print("all runs are finished", file=sys.stderr)
    pack(asked.out, asked.pack)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, help="time for this piece")
    parser.add_argument("steps", type=int, help="optimizer steps of each run, 32768 tokens each")
    parser.add_argument("pack", type=Path, help="the tables of all finished runs go here, as one tar")
    parser.add_argument("--runs", default=RUNS, help="ARM-SEED ..., in the order of training")
    parser.add_argument("--corpus", type=Path, default=Path("data/corpus"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/.paper_scale"))
    parser.add_argument("--tiny", action="store_true", help="a dry run: a tiny model on the CPU")
    return parser.parse_args()


def changed(tree: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """Preset gpt2 on the GPU, with dumps thin enough that each run's tables stay under 1 MB."""
    steps = asked.steps
    tree["gpt2"] |= {"preset": "gpt2", "device": "cuda", "precision": "bf16", "compile": True, "lr": 6e-4,
                     "val_every": max(steps // 10, 1), "val_batches": 4, "checkpoint_every": steps + 1}
    tree["gpt2"]["dumps"] |= {"every_step_until": 20, "per_decade": 12, "every": max(steps // 40, 1)}
    tree["gpt2_presets"]["gpt2"] |= {"batch_size": 32, "micro_batch_size": 32, "steps": steps,
                                     "warmup_steps": min(200, steps // 10)}
    if asked.tiny:
        tree["gpt2"] |= {"device": "cpu", "compile": False}
        tree["gpt2_presets"]["gpt2"] |= {"n_embd": 24, "n_ctx": 32, "batch_size": 4, "micro_batch_size": 2}
    return tree


def train(tree: dict[str, Any], name: str, folder: Path, corpus: Path, deadline: float) -> bool:
    """Train one run until it ends or time is up; True if its tables are there."""
    arm, _, seed = name.rpartition("-")
    run = resolve(tree, arm)
    tokens = open_corpus(corpus, run.vocab_size, run.n_ctx)
    started = time.monotonic()
    training = pretrain(run, arm, int(seed), tokens, max(0.0, deadline - started))
    if training is None:
        return False
    pretrain_tables.write(folder, arm, training)
    checkpoint.remove(training.checkpoints)
    measured = speed(run, run.steps - training.resumed_at, time.monotonic() - started)
    (folder / "speed.json").write_text(json.dumps(measured, indent=2) + "\n")
    return True


def speed(run: Gpt2Run, steps: int, seconds: float) -> dict[str, Any]:
    """Of the piece that ended the run: wall-clock with start, compilation, dumps and tables."""
    cuda = run.device == "cuda"
    return {"device": torch.cuda.get_device_name() if cuda else "cpu", "torch": torch.__version__,
            "steps": steps, "seconds": round(seconds, 1),
            "tokens_per_second": round(steps * run.batch_size * run.n_ctx / seconds),
            "peak_gpu_memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if cuda else None}


def pack(out: Path, target: Path) -> None:
    """One tar of every finished run: tables with float32 values, run.json, speed.json; no weights."""
    finished = sorted(path.parent for path in out.glob("*/speed.json"))
    if not finished:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    small = out / "packed"
    shutil.rmtree(small, ignore_errors=True)
    for folder in finished:
        for name in TABLES:
            table = rows.read(folder / f"{name}.parquet")
            halved = dict.fromkeys(table.select_dtypes("float64"), "float32")
            rows.write(small / folder.name / f"{name}.parquet", table.astype(halved))
        for name in ("run.json", "speed.json"):
            shutil.copy(folder / name, small / folder.name)
    with tarfile.open(target, "w") as tar:
        tar.add(small, arcname="gpt2-124m")
    print(f"{target}: {len(finished)} runs, {target.stat().st_size / 2**20:.1f} MiB", file=sys.stderr)


if __name__ == "__main__":
    main()
