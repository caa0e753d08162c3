"""Preset gpt2 (124M parameters) on one GPU as a recorded run, in pieces: what is unfinished goes on later.

Parts, folders and provenance are those of `make full` (docs/recorded-runs.md). params.yaml stays as it is;
`changed` says what is laid over its default study. See paper_scale.sh.
"""

import argparse
import contextlib
import functools
import math
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import torch

from study.base import checkpoint
from study.gpt2 import tables as pretrain_tables
from study.gpt2.batches import open_corpus
from study.gpt2.params import Gpt2Run, resolve
from study.gpt2.pretrain import pretrain
from study.recording import parts, record
from study.recording.full import HOME, locked
from study.recording.parts import Part
from study.recording.working import Working
from study.stages.gpt2_pretrain import CORPUS, OUT
from variance_dynamics.base.errors import BadInput, one_line

RUNS = "gpt2-0 std_005-0 std_1-0 wd_0-0 gpt2-1 gpt2-2"
"""Each arm that is wanted once, then the seeds without which no claim has a verdict."""
RESERVE = 60
"""Seconds kept back of a piece for a checkpoint (about 3 GB), the tables and the record."""
WORTH_IT = 120
"""A run is not begun or resumed with fewer seconds than this, which is what compiling may take."""
PACKED = ("*.parquet", "run.json", "begun.json", "spent.json", "done.json", "manifest.json", "params.yaml")
"""What another machine needs to go on after the finished runs: no tokens, weights or checkpoints."""


@one_line
def main() -> None:
    asked = arguments()
    deadline = time.monotonic() + asked.seconds - (0 if asked.tiny else RESERVE)
    tree = changed(parts.whole("default"), asked)
    home = HOME.resolve() / asked.name
    home.mkdir(parents=True, exist_ok=True)
    corpus, *runs = (Working(part, home, Path.cwd()) for part in wanted(tree, asked.runs.split()))
    with locked(home) as lock:
        if corpus.done() is None or not (corpus.out / "train.bin").exists():
            corpus.run(lock.fileno())
        left = [work for work in runs if work.done() is None]
        least = -math.inf if asked.tiny else WORTH_IT
        keep = functools.partial(kept, asked, tree, [corpus, *runs])
        keep()
        while left and deadline - time.monotonic() > least and train(left[0], deadline):
            del left[0]
            keep()
        told = f"{left[0].part.name} is next; run this again to go on" if left else "all runs are finished"
        print(told, file=sys.stderr)


def kept(asked: argparse.Namespace, tree: dict[str, Any], works: list[Working]) -> None:
    """Record the finished runs, after each one: the machine may be gone before the next one ends."""
    record.write(Path("data/recorded") / asked.name, "paper scale", tree, works)
    if asked.pack:
        pack(works[0].home, asked.pack)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="paper_scale.sh", description=__doc__)
    parser.add_argument("seconds", type=float, help="time for this piece; 0 only records what is finished")
    parser.add_argument("steps", type=int, help="optimizer steps of each run, 32768 tokens each")
    parser.add_argument("--runs", default=RUNS, help="ARM-SEED ..., in the order of training")
    parser.add_argument("--name", default="gpt2-124m", help="folder in data/recorded")
    parser.add_argument("--pack", type=Path, metavar="FILE.tar", help="what another machine needs to go on")
    parser.add_argument("--tiny", action="store_true", help="a dry run: a tiny model on the CPU")
    return parser.parse_args()


def changed(tree: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """Preset gpt2 on the GPU, GPT-2's tokens of files, and dumps that leave under 2 MB of tables a run."""
    steps, runs = asked.steps, [named(run) for run in asked.runs.split()]
    tree["corpus"] |= {"source": "files"}
    tree["corpus"]["tokenizer"] |= {"kind": "gpt2"}
    tree["gpt2"] |= {"arms": list(dict.fromkeys(arm for arm, _ in runs)),
                     "seeds": sorted({int(seed) for _, seed in runs}),
                     "preset": "gpt2", "device": "cuda", "precision": "bf16", "compile": True, "lr": 6e-4,
                     "val_every": max(steps // 10, 1), "val_batches": 4, "checkpoint_every": steps + 1}
    tree["gpt2"]["dumps"] |= {"every_step_until": 20, "per_decade": 12, "every": max(steps // 40, 1)}
    tree["gpt2_presets"]["gpt2"] |= {"batch_size": 32, "micro_batch_size": 32, "steps": steps,
                                     "warmup_steps": min(200, steps // 10)}
    if asked.tiny:
        tree["gpt2"] |= {"device": "cpu", "compile": False}
        tree["gpt2_presets"]["gpt2"] |= {"n_embd": 24, "n_ctx": 32, "batch_size": 4, "micro_batch_size": 2}
    return tree


def named(run: str) -> tuple[str, str]:
    """ARM-SEED as both."""
    arm, _, seed = run.rpartition("-")
    if not seed.isdecimal():
        raise BadInput(f"--runs has {run!r}: expected ARM-SEED, such as std_005-0")
    return arm, seed


def wanted(tree: dict[str, Any], runs: list[str]) -> list[Part]:
    """The corpus, then a part for each run."""
    each = [Part(f"e3-{run}", parts.E3, named(run), tree) for run in runs]
    return [Part(parts.CORPUS, parts.CORPUS, (), tree), *each]


def train(work: Working, deadline: float) -> bool:
    """Train one run until it ends or time is up, in this process; True if its tables are there."""
    attempt = work.begin()
    attempt.facts["machine"] |= gpu()
    arm, seed = work.part.arguments
    run = resolve(work.part.tree, arm)
    with contextlib.chdir(work.folder):
        tokens = open_corpus(CORPUS, run.vocab_size, run.n_ctx)
        training = pretrain(run, arm, int(seed), tokens, max(0.0, deadline - time.monotonic()))
        attempt.note()
        if training is None:
            return False
        pretrain_tables.write(OUT / f"{arm}-{seed}", arm, training)
        attempt.end(**measured(run, training.resumed_at, attempt.seconds[-1]))
        checkpoint.remove(training.checkpoints)
    return True


def gpu() -> dict[str, str | None]:
    """What is recorded elsewhere, with another torch, would not be told otherwise."""
    if not torch.cuda.is_available():
        return {}
    return {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda}


def measured(run: Gpt2Run, resumed_at: int, seconds: float) -> dict[str, Any]:
    """Of the piece that ended the run, from that step: compilation, dumps and validation are in the rate."""
    rate = (run.steps - resumed_at) * run.batch_size * run.n_ctx / seconds
    found = {"tokens_per_second": round(rate), "resumed_at": resumed_at}
    if run.device == "cpu":
        return found
    share = rate * flops(run) / matrix_rate(run.device)
    memory = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return found | {"share_of_matrix_rate": round(share, 3), "peak_gpu_memory_gib": round(memory, 2)}


def flops(run: Gpt2Run) -> int:
    """A token's, forward and backward: 6 for each weight of a product, and attention's, nothing masked."""
    weights = 12 * run.n_layer * run.n_embd**2 + run.vocab_size * run.n_embd
    return 6 * weights + 12 * run.n_layer * run.n_embd * run.n_ctx


@functools.cache
def matrix_rate(device: str, size: int = 8192, repeats: int = 20) -> float:
    """FLOP/s of bf16 products of random square matrices on a GPU."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        a @ b
    torch.cuda.synchronize()
    return repeats * 2 * size**3 / (time.perf_counter() - started)


def pack(home: Path, target: Path) -> None:
    """What another machine needs to go on after the runs that are finished, to be unpacked at the root."""
    target.parent.mkdir(parents=True, exist_ok=True)
    files = sorted(path for pattern in PACKED for path in home.rglob(pattern))
    partial = target.with_name(target.name + ".partial")  # the last pack stays whole until this one is
    with tarfile.open(partial, "w") as tar:
        for file in files:
            tar.add(file, arcname=file.relative_to(home.parent.parent))
    partial.replace(target)
    print(f"{target}: {target.stat().st_size / 2**20:.1f} MiB", file=sys.stderr)


if __name__ == "__main__":
    main()
