"""GPT-2 training steps per second: ours, transformers' GPT-2, nanoGPT's, and the step's matrix products.

All start from the same weights and see the same batches; their first losses are compared before anything is
timed. Ours is `Pretraining.advance` as the stage calls it, between two dumps (tracking.py measures those).
Every peer clips gradients and updates with AdamW, and drops nothing out.

Only a quiet machine gives figures: whoever splits each operation over all cores waits for the slowest one at
each, so beside other work the peers (and the products of the batch) come out many times slower than ours.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measure import Row, against, rates, spread
from ours import on_random_tokens, undisturbed
from peers import Logits, Peer, nanogpt
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from study.base import params
from study.gpt2.model import GPT2
from study.gpt2.params import Gpt2Run, resolve

ROOT = Path(__file__).resolve().parent.parent
SHAPES = {"width 128, context 128": {}, "width 256, context 256": {"n_embd": 256, "n_ctx": 256}}
STEPS = {"width 128, context 128": 4, "width 256, context 256": 1}
"""Steps in one timed call."""
COMPARED = 3
"""Steps over which losses must agree with ours in fp32, within CLOSE of each other."""
CLOSE = {"fp32": 1e-5, "bf16": 2e-3}


def transformers_gpt2(model: GPT2) -> tuple[GPT2LMHeadModel, Logits]:
    """transformers' model with our weights, and its logits."""
    found = theirs(model)
    return found, lambda tokens: found(input_ids=tokens, use_cache=False).logits


def theirs(model: GPT2) -> GPT2LMHeadModel:
    """transformers' model with a copy of our weights: q, k, v as one, matrices as [fan_in, fan_out]."""
    shape = model.shape
    config = GPT2Config(vocab_size=shape.vocab_size, n_positions=shape.n_ctx, n_embd=shape.n_embd,
                        n_layer=shape.n_layer, n_head=shape.n_head, resid_pdrop=0.0, embd_pdrop=0.0,
                        attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)
    given = {name: value.clone() for name, value in model.state_dict().items()}
    for layer in range(shape.n_layer):
        for kind in ("weight", "bias"):
            parts = [given.pop(f"h.{layer}.attn.{name}.{kind}") for name in "qkv"]
            given[f"h.{layer}.attn.c_attn.{kind}"] = torch.cat(parts)
    dense = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    found = GPT2LMHeadModel(config)
    found.transformer.load_state_dict({k: v.t() if k.endswith(dense) else v for k, v in given.items()})
    return found.train()


class Ours:
    """Our step, on random tokens."""

    def __init__(self, run: Gpt2Run) -> None:
        self.training = on_random_tokens(run)

    def advance(self) -> float:
        self.training.advance()
        return self.training.curves["train_loss"][self.training.step - 1].item()


def as_run(**changes: object) -> Gpt2Run:
    """Preset cpu, undisturbed."""
    return undisturbed(resolve(params.read(ROOT / "params.yaml"), "gpt2", "cpu"), **changes)


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


OURS, FP32, PARTS, WHOLE = "ours", "ours in fp32", "products alone, in micro batches", "products alone"
OURS_COMPILED = "ours, compiled"
EAGER, COMPILED = "transformers, eager fp32", "transformers, compiled bf16, fused AdamW"
NANO, NANO_COMPILED = "nanoGPT's form, eager fp32", "nanoGPT's form, compiled bf16, fused AdamW"
PEERS = {EAGER: (transformers_gpt2, False), NANO: (nanogpt, False),
         COMPILED: (transformers_gpt2, True), NANO_COMPILED: (nanogpt, True)}
"""Each peer's model, and whether it is compiled, in bf16 and updated by the fused AdamW."""


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def steppers(compiled: bool = True, **changes: object) -> dict[str, tuple[Callable[[], float], int]]:
    """Ours and the peers, each one step and torch's threads for it, all from the same state."""
    torch.compiler.reset()  # else a second shape would be compiled for any shape, and slower
    exact = Ours(as_run(**{"precision": "fp32", **changes}))
    ours, threads = Ours(as_run(**changes)), torch.get_num_threads()
    found = {OURS: (ours.advance, threads), FP32: (exact.advance, threads)}
    if compiled:
        found[OURS_COMPILED] = (later(lambda: Ours(as_run(compile=True, **changes))), threads)
    for name, (make, fast) in PEERS.items():
        if compiled or not fast:
            found[name] = (waited(Peer(exact.training, make, fast, fast)), cores())
    return found


def waited(peer: Peer) -> Callable[[], float]:
    return lambda: peer.advance().item()


def later(make: Callable[[], Ours]) -> Callable[[], float]:
    """The step of what is made when the first is asked for, so that making it counts as a part of that."""
    made: list[Ours] = []

    def advance() -> float:
        if not made:
            made.append(make())
        return made[0].advance()

    return advance


def check(steps: dict[str, tuple[Callable[[], float], int]]) -> dict[str, float]:
    """Seconds of each one's first step; AssertionError where losses are not ours in fp32."""
    first, losses = {}, {}
    for name, (step, threads) in steps.items():
        torch.set_num_threads(threads)
        started = time.perf_counter()
        losses[name] = [step()]
        first[name] = time.perf_counter() - started
        losses[name] += [step() for _ in range(COMPARED - 1)]
        print(f"{name}: first step {first[name]:.1f} s, losses {losses[name]}", file=sys.stderr, flush=True)
    worst = {name: float(np.abs(np.array(found) / losses[FP32] - 1).max()) for name, found in losses.items()}
    exact = (FP32, EAGER, NANO)
    assert all(worst[name] < CLOSE["fp32" if name in exact else "bf16"] for name in worst), worst
    return first


def compare(shape: str, rounds: int) -> list[Row]:
    """Everyone's rate at one shape, and ours in units of each, of those that one trains with compiled too;
    `share` is of the faster products alone."""
    steps, count = steppers(**SHAPES[shape]), STEPS[shape]
    first = check(steps)
    works = {name: (repeated(*step, count), float(count)) for name, step in steps.items()}
    found = rates(works | products(as_run(**SHAPES[shape]), steps[OURS][1], count), rounds)
    best = max((PARTS, WHOLE), key=lambda name: spread(found[name])["median"])
    about = {name: {"share": against(found, name, best)["ratio_median"]} for name in (OURS, OURS_COMPILED)}
    for name in (OURS_COMPILED, COMPILED, NANO_COMPILED):
        about[name] = about.get(name, {}) | {"compile_seconds": round(first[name], 1)}
    about[OURS_COMPILED] |= pays(found, first[OURS_COMPILED])
    for name in PEERS:
        about[name] = about.get(name, {}) | {f"compiled_{key}": value for key, value
                                             in against(found, OURS_COMPILED, name).items()}
    return [{"bench": "gpt2 step", "shape": shape, "peer": name, "unit": "steps/s", **spread(values),
             **against(found, OURS, name), **about.get(name, {})} for name, values in found.items()]


def pays(found: dict[str, list[float]], seconds: float) -> dict[str, int]:
    """Steps from which compiling saves more than the `seconds` it takes; nothing if it never does."""
    saved = 1 / spread(found[OURS])["median"] - 1 / spread(found[OURS_COMPILED])["median"]
    return {"pays_from_steps": round(seconds / saved)} if saved > 0 else {}


def products(run: Gpt2Run, threads: int, count: int) -> dict[str, tuple[Callable[[], object], float]]:
    """A step's products in our micro batches, side by side as our own step maps them, and of the batch."""
    parts, whole = Products(run, run.micro_batch_size), Products(run, run.batch_size)
    number, over = run.batch_size // run.micro_batch_size, Ours(run).training.engine.map

    def side_by_side() -> None:
        list(over(lambda _: parts(), range(number)))

    return {PARTS: (repeated(side_by_side, threads, count), float(count)),
            WHOLE: (repeated(whole, cores(), count), float(count))}


def repeated(step: Callable[[], object], threads: int, count: int) -> Callable[[], None]:
    def work() -> None:
        torch.set_num_threads(threads)
        for _ in range(count):
            step()

    return work


def rows(rounds: int = 5, shapes: tuple[str, ...] = tuple(SHAPES)) -> list[Row]:
    """Both shapes."""
    return [row for shape in shapes for row in compare(shape, rounds)]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty  # what was compiled before would be found there
        print(json.dumps(rows(), indent=1))
