"""On one GPU, at the paper's size: tokens per second of our step, nanoGPT's and ours with tracking; memory.

    PYTHONPATH=src python benchmarks/gpu_step.py [--rounds 5] [--out FILE.json]

Preset gpt2 (124M parameters) as docs/scale.md trains it, through `Pretraining.advance`; the peer is a model
of nanoGPT's form, compiled as a whole, in bf16 with the fused AdamW. Both start from the same weights and see
the same random tokens; their logits and first losses are compared. `share` is of the rate of large bf16
products on that GPU. Tracking is the same run with a tracker in its place, at every step or at one in ten.
--tiny is a dry run on a CPU with a tiny model, nothing compiled.
"""

import argparse
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Row, against, rates, spread
from ours import CONTENTS, SCHEDULES, on_random_tokens, undisturbed, watching
from peers import Peer, nanogpt

from study.base import params
from study.base import provenance as machine
from study.gpt2.params import Gpt2Run, resolve
from study.gpt2.pretrain import Pretraining

OURS, NANO = "ours, compiled", "nanoGPT's form, compiled"
TRACKED = {f"ours, {content} tracked, {rate}": (kinds, due)
           for content, kinds in CONTENTS.items() for rate, due in SCHEDULES.items()}
STEPS = 10
"""Steps in one timed call: as many as hold one dump at one in ten."""
COMPARED = 3
CLOSE = 2e-3
"""Of the first losses; the peer's vocabulary is padded, which alone is ln(50304 / 50257), 1e-4 of a loss."""
SAME = 0.02
"""Of logits, in units of their std, in fp32 (TF32 on a GPU): a loss of random tokens hardly tells weights."""


class Nobody:
    """Stands where a run's tracker stands, and does nothing."""

    def before_step(self, step: int) -> None: ...

    def after_step(self, step: int) -> None: ...


TINY = {"device": "cpu", "compile": False, "n_embd": 24, "n_ctx": 32, "batch_size": 4, "micro_batch_size": 2}


def as_run(tiny: bool) -> Gpt2Run:
    """What docs/scale.md trains, undisturbed."""
    tree = params.read()
    tree["gpt2"] |= {"preset": "gpt2", "device": "cuda", "precision": "bf16", "compile": True, "lr": 6e-4}
    return undisturbed(resolve(tree, "gpt2"), **TINY if tiny else {})


def flops(run: Gpt2Run) -> int:
    """Of a token, forward and backward: 6 for each weight of a product, and attention's, nothing masked."""
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


def start(run: Gpt2Run) -> Pretraining:
    """Our run, untracked."""
    training = on_random_tokens(run)
    training.tracker = Nobody()  # type: ignore[assignment]
    return training


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def measured(device: torch.device, work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What `work` gives, and the GiB of the GPU that it takes at most on top of what lies there."""
    if device.type != "cuda":
        return work(), {}
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    found = work()
    wait(device)
    return found, {"peak_gpu_memory_gib": round((torch.cuda.max_memory_allocated() - before) / 2**30, 2)}


def begun(run: Gpt2Run) -> tuple[Pretraining, list[float]]:
    """Ours, and the losses of its first steps, compilation among them."""
    training = start(run)
    for _ in range(COMPARED):
        training.advance()
    return training, training.curves["train_loss"][:COMPARED].tolist()


def peer_begun(ours: Pretraining, compiled: bool) -> tuple[Peer, list[float]]:
    """The peer from the weights that `ours` starts with, and its first losses."""
    peer = Peer(ours, nanogpt, bf16=True, compiled=compiled)
    check_logits(ours, peer)
    return peer, [peer.advance().item() for _ in range(COMPARED)]


@torch.no_grad()
def check_logits(ours: Pretraining, peer: Peer) -> None:
    """AssertionError where the peer's logits of one context are not ours."""
    tokens = torch.from_numpy(ours.val[:1, :-1]).to(ours.device)
    expected = ours.model(tokens)
    apart = (peer.logits(tokens)[..., : expected.shape[-1]] - expected).abs().max() / expected.std()
    assert apart < SAME, f"logits are {apart:.3g} of their std apart"


def steps(advance: Callable[[], object], device: torch.device) -> Callable[[], None]:
    def work() -> None:
        for _ in range(STEPS):
            advance()
        wait(device)

    return work


def watched(training: Pretraining, watcher: Any) -> Callable[[], None]:
    """Steps of ours with `watcher` in the tracker's place."""
    advance = steps(training.advance, training.device)

    def work() -> None:
        training.tracker = watcher
        advance()

    return work


def rows(run: Gpt2Run, rounds: int) -> list[Row]:
    """Ours, the peer, and ours with each kind of tracking; ratios are ours untracked over theirs.

    Memory is told of ours and the peer, each by itself.
    """
    fresh, memory = start(run.model_copy(update={"compile": False})), {}
    (training, losses), memory[OURS] = measured(fresh.device, lambda: begun(run))
    (peer, theirs), memory[NANO] = measured(fresh.device, lambda: peer_begun(fresh, run.compile))
    assert np.allclose(theirs, losses, rtol=CLOSE), f"losses {losses} and {theirs}"
    works = {OURS: watched(training, Nobody()), NANO: steps(peer.advance, fresh.device)}
    works |= {name: watched(training, watching(training, kinds, due))
              for name, (kinds, due) in TRACKED.items()}
    for work in works.values():
        work()
    tokens = float(STEPS * run.batch_size * run.n_ctx)
    found = rates({name: (work, tokens) for name, work in works.items()}, rounds)
    shape = f"{run.n_layer} layers, width {run.n_embd}, context {run.n_ctx}, batch {run.batch_size}"
    return [{"bench": "gpu step", "shape": shape, "peer": name, "unit": "tokens/s", **spread(values),
             **against(found, OURS, name), **share(run, values), **memory.get(name, {})}
            for name, values in found.items()]


def share(run: Gpt2Run, values: list[float]) -> dict[str, float]:
    """Of the rate of bf16 products on a GPU."""
    if run.device == "cpu":
        return {}
    return {"share": round(spread(values)["median"] * flops(run) / matrix_rate(run.device), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="gpu_step.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="where to write the rows; they are printed too")
    parser.add_argument("--tiny", action="store_true", help="a dry run: a tiny model on the CPU")
    asked = parser.parse_args()
    run = as_run(asked.tiny)
    about = {"machine": machine.machine(), "versions": machine.versions()}
    if run.device == "cuda":
        about["machine"] |= {"gpu": torch.cuda.get_device_name()}
    told = json.dumps(about | {"rows": rows(run, asked.rounds)}, indent=1)
    if asked.out:
        asked.out.write_text(told + "\n", encoding="utf-8")
    print(told)


if __name__ == "__main__":
    main()
