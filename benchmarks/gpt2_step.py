"""GPT-2 training steps per second: ours, transformers' GPT-2, nanoGPT's, and the step's matrix products.

All start from the same weights and see the same batches; their first losses are compared before anything is
timed. Ours is `Pretraining.advance` as the stage calls it, between two dumps, which tracking_cost.py
measures. Every peer clips gradients, updates with AdamW, and has no dropout.

Only a quiet machine gives figures. The peers, and the products of the whole batch, split each operation over
all cores and wait for the slowest core every time, so beside other work they come out many times slower.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gpt2_runs import Peer, nanogpt, on_random_tokens, transformers_gpt2, undisturbed
from measure import Rates, Row, Work, against, rates, spread
from torch import Tensor

from study.gpt2.params import Gpt2Run
from variance_dynamics.base.machine import all_cores

SHAPES: dict[str, dict[str, Any]] = {
    "width 128, context 128": {}, "width 256, context 256": {"n_embd": 256, "n_ctx": 256}}
"""Changes of preset cpu."""
STEPS = {"width 128, context 128": 4, "width 256, context 256": 1}
"""Steps in one timed call."""
COMPARED = 3
"""Steps over which losses must agree with ours in fp32, within CLOSE of each other."""
CLOSE = {"fp32": 1e-5, "bf16": 2e-3}
OURS, FP32, OURS_COMPILED = "ours", "ours in fp32", "ours, compiled"
PARTS, WHOLE = "products alone, in micro batches", "products alone"
EAGER, COMPILED = "transformers, eager fp32", "transformers, compiled bf16, fused AdamW"
NANO, NANO_COMPILED = "nanoGPT's form, eager fp32", "nanoGPT's form, compiled bf16, fused AdamW"
PEERS = {EAGER: (transformers_gpt2, False), NANO: (nanogpt, False),
         COMPILED: (transformers_gpt2, True), NANO_COMPILED: (nanogpt, True)}
"""Each peer's model, and whether it is compiled, in bf16 and updated by the fused AdamW."""
Steps = dict[str, tuple[Callable[[], float], int]]
"""One training step of each, which returns its loss, and the number of torch's threads for it."""


class Ours:
    """Our step, on random tokens."""

    def __init__(self, run: Gpt2Run) -> None:
        self.training = on_random_tokens(run)

    def advance(self) -> float:
        self.training.advance()
        return self.training.curves["train_loss"][self.training.step - 1].item()


class Products:
    """The matrix products of a step of so many contexts in bf16: forward, and both gradients of each."""

    def __init__(self, run: Gpt2Run, contexts: int) -> None:
        width, tokens = run.n_embd, contexts * run.n_ctx
        block = [(width, width)] * 4 + [(width, 4 * width), (4 * width, width)]
        sizes = block * run.n_layer + [(width, run.vocab_size)]
        self.weights = [filled(out, into) for into, out in sizes]
        self.inputs = {size: filled(tokens, size) for size in {n for pair in sizes for n in pair}}
        self.heads = filled(contexts * run.n_head, run.n_ctx, width // run.n_head)
        self.scores, self.n_layer = filled(contexts * run.n_head, run.n_ctx, run.n_ctx), run.n_layer

    def __call__(self) -> None:
        with torch.inference_mode():
            for weight in self.weights:
                d, x = (self.inputs[size] for size in weight.shape)
                for a, b in ((x, weight.t()), (d, weight), (d.t(), x)):
                    torch.mm(a, b)
            for _ in range(self.n_layer):
                for a in (self.scores, self.scores.mT):
                    torch.bmm(self.heads, self.heads.mT)
                    torch.bmm(a, self.heads)
                    torch.bmm(a, self.heads)


def filled(*size: int) -> Tensor:
    return torch.full(size, 0.01, dtype=torch.bfloat16)


def steppers(compiled: bool = True, **changes: Any) -> Steps:
    """Ours and the peers, all from the same state; the compiled ones only on request."""
    torch.compiler.reset()  # else a second shape would be compiled for any shape, and slower
    exact = Ours(undisturbed("cpu", **{"precision": "fp32", **changes}))
    ours, threads = Ours(undisturbed("cpu", **changes)), torch.get_num_threads()
    steps: Steps = {OURS: (ours.advance, threads), FP32: (exact.advance, threads)}
    if compiled:
        steps[OURS_COMPILED] = (later(lambda: Ours(undisturbed("cpu", compile=True, **changes))), threads)
    for name, (make, fast) in PEERS.items():
        if compiled or not fast:
            steps[name] = (waited(Peer(exact.training, make, fast, fast)), all_cores())
    return steps


def waited(peer: Peer) -> Callable[[], float]:
    return lambda: peer.advance().item()


def later(make: Callable[[], Ours]) -> Callable[[], float]:
    """The step of a run that is made at the first call, so that compiling counts as a part of that call."""
    made: list[Ours] = []

    def advance() -> float:
        if not made:
            made.append(make())
        return made[0].advance()

    return advance


def check(steps: Steps) -> dict[str, float]:
    """Seconds of each one's first step; AssertionError where losses are not ours in fp32."""
    first, losses = {}, {}
    for name, (step, threads) in steps.items():
        torch.set_num_threads(threads)
        started = time.perf_counter()
        losses[name] = [step()]
        first[name] = time.perf_counter() - started
        losses[name] += [step() for _ in range(COMPARED - 1)]
        print(f"{name}: first step {first[name]:.1f} s, losses {losses[name]}", file=sys.stderr, flush=True)
    worst = {name: float(np.abs(np.array(each) / losses[FP32] - 1).max()) for name, each in losses.items()}
    exact = (FP32, EAGER, NANO)
    assert all(worst[name] < CLOSE["fp32" if name in exact else "bf16"] for name in worst), worst
    return first


def compare(shape: str, rounds: int) -> list[Row]:
    """Everyone's rate at one shape, and ours over it.

    `share` is our rate over that of the faster way to do the products alone. Peers that one trains with also
    have the ratio of our compiled step.
    """
    steps, count = steppers(**SHAPES[shape]), STEPS[shape]
    first = check(steps)
    works: dict[str, Work] = {name: (repeated(*step, count), float(count)) for name, step in steps.items()}
    works |= products(undisturbed("cpu", **SHAPES[shape]), steps[OURS][1], count)
    measured = rates(works, rounds)
    best = max((PARTS, WHOLE), key=lambda name: spread(measured[name])["median"])
    more: dict[str, Row] = {name: {} for name in measured}
    for name in (OURS, OURS_COMPILED):
        more[name]["share"] = against(measured, name, best)["ratio_median"]
    for name in (OURS_COMPILED, COMPILED, NANO_COMPILED):
        more[name]["compile_seconds"] = round(first[name], 1)
    more[OURS_COMPILED] |= pays(measured, first[OURS_COMPILED])
    for name in PEERS:
        ratios = against(measured, OURS_COMPILED, name)
        more[name] |= {f"compiled_{key}": value for key, value in ratios.items()}
    return [{"bench": "gpt2 step", "shape": shape, "peer": name, "unit": "steps/s", **spread(values),
             **against(measured, OURS, name), **more[name]} for name, values in measured.items()]


def pays(measured: Rates, seconds: float) -> dict[str, int]:
    """The steps after which compiling has saved the `seconds` that it takes; empty if it never does."""
    saved = 1 / spread(measured[OURS])["median"] - 1 / spread(measured[OURS_COMPILED])["median"]
    return {"pays_from_steps": round(seconds / saved)} if saved > 0 else {}


def products(run: Gpt2Run, threads: int, count: int) -> dict[str, Work]:
    """A step's products: in micro batches side by side, as our own step maps them, and of the whole batch."""
    parts, whole = Products(run, run.micro_batch_size), Products(run, run.batch_size)
    number, engine = run.batch_size // run.micro_batch_size, Ours(run).training.engine
    over = engine.map  # type: ignore[attr-defined]

    def side_by_side() -> None:
        list(over(lambda _: parts(), range(number)))

    return {PARTS: (repeated(side_by_side, threads, count), float(count)),
            WHOLE: (repeated(whole, all_cores(), count), float(count))}


def repeated(step: Callable[[], object], threads: int, count: int) -> Callable[[], None]:
    def work() -> None:
        torch.set_num_threads(threads)
        for _ in range(count):
            step()

    return work


def rows(rounds: int = 5) -> list[Row]:
    """Both shapes."""
    return [row for shape in SHAPES for row in compare(shape, rounds)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty  # else what was compiled before would be reused
        print(json.dumps(rows(), indent=1))
