"""On one GPU, at the paper's size: tokens per second of our step, of nanoGPT's, and of ours with tracking.

`python benchmarks/run.py gpu_step`, where there is a GPU. Ours is preset gpt2 (124M parameters) through
`Pretraining.advance`; the peer is a model of nanoGPT's form in bf16 with the fused AdamW. Both are compiled
as a whole, start from the same weights and see the same random tokens; their logits and first losses are
compared before anything is timed. `share` is the share of the rate of large bf16 products on that GPU. The
rows with tracking are our run with a tracker in its place, at every step or at one step in ten.
"""

import functools
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gpt2_runs import CONTENTS, SCHEDULES, Peer, Switch, nanogpt, on_random_tokens, undisturbed, watching
from measure import Row, Work, against, rates, spread

from study.gpt2.params import Gpt2Run
from study.gpt2.pretrain import Pretraining

OURS, NANO = "ours, compiled", "nanoGPT's form, compiled"
TRACKED = {f"ours, {content} tracked, {rate}": (kinds, due)
           for content, kinds in CONTENTS.items() for rate, due in SCHEDULES.items()}
STEPS = 10
"""Steps in one timed call: so many have one dump at one step in ten."""
COMPARED = 3
"""Steps over which the peer's losses must agree with ours, within CLOSE of each other."""
CLOSE = 2e-3
"""The peer's padded vocabulary alone makes ln(50304 / 50257) of difference, 1e-4 of a loss."""
SAME = 0.02
"""Largest difference of logits, in their std: losses on random tokens hardly depend on the weights."""


def paper_size(**changes: Any) -> Gpt2Run:
    """The run of the paper's size; `changes` are fields of it."""
    on_gpu = {"device": "cuda", "precision": "bf16", "compile": True, "lr": 6e-4}
    return undisturbed("gpt2", **on_gpu | changes)


def untracked(run: Gpt2Run) -> Pretraining:
    training = on_random_tokens(run)
    Switch(training)
    return training


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def with_memory(device: torch.device, work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What `work` returns, and the peak of GPU memory in GiB beyond what was in use before it."""
    if device.type != "cuda":
        return work(), {}
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    made = work()
    wait(device)
    return made, {"peak_gpu_memory_gib": round((torch.cuda.max_memory_allocated() - before) / 2**30, 2)}


def start_ours(run: Gpt2Run) -> tuple[Pretraining, list[float]]:
    """Our run after its first steps, with compilation, and their losses."""
    training = untracked(run)
    for _ in range(COMPARED):
        training.advance()
    return training, training.curves["train_loss"][:COMPARED].tolist()


def start_peer(ours: Pretraining, compiled: bool) -> tuple[Peer, list[float]]:
    """The peer after its first steps from the weights of `ours`, and their losses."""
    peer = Peer(ours, nanogpt, bf16=True, compiled=compiled)
    check_logits(ours, peer)
    return peer, [peer.advance().item() for _ in range(COMPARED)]


@torch.no_grad()
def check_logits(ours: Pretraining, peer: Peer) -> None:
    """AssertionError where the peer's logits of one context, in fp32 or TF32, are not ours."""
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
    """Steps of an untracked run that `watcher` watches; nobody does if it is None."""
    advance, switch = steps(training.advance, training.device), training.tracker
    assert isinstance(switch, Switch)

    def work() -> None:
        switch.watcher = watcher
        advance()

    return work


def rows(run: Gpt2Run, rounds: int = 5) -> list[Row]:
    """Ours, the peer, and ours with each kind of tracking; ratios are our untracked rate over theirs.

    The peak memory is given for ours and for the peer, each by itself.
    """
    fresh, memory = untracked(run.model_copy(update={"compile": False})), {}
    device = fresh.device
    (training, losses), memory[OURS] = with_memory(device, lambda: start_ours(run))
    (peer, theirs), memory[NANO] = with_memory(device, lambda: start_peer(fresh, run.compile))
    assert np.allclose(theirs, losses, rtol=CLOSE), f"losses {losses} and {theirs}"
    works = {OURS: watched(training, None), NANO: steps(peer.advance, device)}
    works |= {name: watched(training, watching(training, *how)) for name, how in TRACKED.items()}
    for work in works.values():
        work()
    tokens = float(STEPS * run.batch_size * run.n_ctx)
    timed: dict[str, Work] = {name: (work, tokens) for name, work in works.items()}
    measured = rates(timed, rounds)
    shape = f"{run.n_layer} layers, width {run.n_embd}, context {run.n_ctx}, batch {run.batch_size}"
    return [{"bench": "gpu step", "shape": shape, "peer": name, "unit": "tokens/s", **spread(values),
             **against(measured, OURS, name), **share(run, values), **memory.get(name, {})}
            for name, values in measured.items()]


def share(run: Gpt2Run, values: list[float]) -> dict[str, float]:
    """The share of the rate of bf16 products that so many tokens per second are; empty on a CPU."""
    if run.device == "cpu":
        return {}
    return {"share": round(spread(values)["median"] * flops(run) / matrix_rate(run.device), 3)}


def flops(run: Gpt2Run) -> int:
    """FLOPs of a token, forward and backward: 6 for a weight, 12 L T D for attention (arXiv 2001.08361)."""
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


if __name__ == "__main__":
    print(json.dumps(rows(paper_size()), indent=1))
