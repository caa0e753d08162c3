"""The GPT-2 runs that are timed: ours on random tokens, and the peers with the same weights and batches.

The peers are transformers' GPT-2 and a model of nanoGPT's form, in the training loop that one writes by hand
around a model.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from measure import ROOT
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from study.base import params
from study.gpt2.batches import Corpus
from study.gpt2.model import GPT2
from study.gpt2.params import Gpt2Run, resolve
from study.gpt2.pretrain import Pretraining
from variance_dynamics.tracking.arguments import OF_MATRICES
from variance_dynamics.tracking.tracker import Tracker

FAR = 100_000
"""A step that no benchmark reaches."""
CONTENTS = {"weights": ("weights",), "everything": OF_MATRICES}
"""What is tracked."""
SCHEDULES: dict[str, Callable[[int], bool]] = {"every step": lambda step: True,
                                               "one step in ten": lambda step: step % 10 == 0}
"""When it is tracked."""
VOCAB_MULTIPLE = 64
Logits = Callable[[Tensor], Tensor]


def undisturbed(preset: str, **changes: Any) -> Gpt2Run:
    """Arm gpt2 of a preset of params.yaml at a constant lr, without a dump or a validation before step FAR.

    `changes` are fields of the run, and come last.
    """
    run = resolve(params.read(ROOT / "params.yaml"), "gpt2", preset)
    dumps = run.dumps.model_copy(update={"every_step_until": 0, "per_decade": 0, "every": FAR,
                                         "histogram_dumps": 1})
    fixed = {"schedule": "constant", "warmup_steps": 0, "steps": FAR, "val_every": FAR, "dumps": dumps}
    return run.model_copy(update=fixed | changes)


def on_random_tokens(run: Gpt2Run) -> Pretraining:
    """The run before its first step, with random tokens for a hundred batches."""
    each = (run.n_ctx + 1) * run.batch_size
    drawn = np.random.default_rng(0).integers(0, run.vocab_size, 100 * each).astype(np.uint16)
    return Pretraining(run, 0, Corpus(drawn, drawn[: 2 * run.val_batches * each], run.vocab_size, ""))


def watching(training: Pretraining, kinds: Iterable[str], schedule: Callable[[int], bool]) -> Tracker:
    """A tracker of the run for some kinds, which knows the initial state and holds no records yet.

    It does not watch the optimizer: a Switch passes the steps on to it.
    """
    measure = tuple(kinds)
    windows = training.run.dumps.windows if "displacement" in measure else ()
    tracker = Tracker(training.model, training.optimizer, measure=measure, schedule=schedule, windows=windows,
                      matrices=training.model.matrices())
    tracker.unwatch()
    tracker.records.clear()
    return tracker


class Switch:
    """Takes the place of a run's tracker, and passes gradients and updates on to `watcher`, or to nobody."""

    def __init__(self, training: Pretraining) -> None:
        self.watcher: Any = None
        training.tracker.unwatch()
        training.tracker = self  # type: ignore[assignment]
        training.optimizer.register_step_post_hook(lambda *_: self.step())

    def before_step(self) -> None:
        """The gradients of the next update are there."""
        if self.watcher is not None:
            self.watcher.before_step()

    def step(self) -> None:
        """An update has been done."""
        if self.watcher is not None:
            self.watcher.step()


def transformers_gpt2(model: GPT2) -> tuple[GPT2LMHeadModel, Logits]:
    """transformers' model with a copy of our weights, and its logits.

    It keeps q, k and v in one tensor, and its matrices as [fan_in, fan_out].
    """
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
    peer = GPT2LMHeadModel(config).train()
    peer.transformer.load_state_dict({k: v.t() if k.endswith(dense) else v for k, v in given.items()})
    return peer, lambda tokens: peer(input_ids=tokens, use_cache=False).logits


@dataclass
class Peer:
    """A model with our weights in the usual loop on our batches: all logits at once, clipping, AdamW.

    `make` builds the model from ours. With `compiled`, its loss is compiled and AdamW is the fused one.
    """

    ours: Pretraining
    make: Callable[[GPT2], tuple[nn.Module, Logits]]
    bf16: bool
    compiled: bool
    step: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        run = self.ours.run
        self.model, self.logits = self.make(self.ours.model)
        weights = list(self.model.parameters())
        groups = [{"params": [p for p in weights if p.ndim >= 2], "weight_decay": run.weight_decay},
                  {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=run.lr, betas=(run.beta1, run.beta2), eps=run.eps,
                                           fused=True if self.compiled else None)
        self.loss = torch.compile(self._loss, dynamic=False) if self.compiled else self._loss

    def _loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.bf16):
            return F.cross_entropy(self.logits(tokens).flatten(0, 1), targets.flatten())

    def advance(self) -> Tensor:
        """Make one update and return the loss before it, without waiting for a GPU."""
        run = self.ours.run
        contexts = torch.from_numpy(self.ours.batches(self.step))
        if self.ours.device.type == "cuda":
            contexts = contexts.pin_memory().to(self.ours.device, non_blocking=True)
        parts = contexts.split(run.batch_size if run.device == "cpu" else run.micro_batch_size)
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self.ours.device)
        for part in parts:
            loss = self.loss(part[:, :-1], part[:, 1:]) / len(parts)
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), run.grad_clip)
        self.optimizer.step()
        self.step += 1
        return total


class NanoGPT(nn.Module):
    """nanoGPT's form: one product for q, k and v, fused attention, a vocabulary padded to 64s."""

    def __init__(self, width: int, heads: int, layers: int, context: int, vocab: int) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.h = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 [B, T] -> logits [B, T, V]."""
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.h:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.c_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, context, width = x.shape
        parts = self.c_attn(self.ln_1(x)).split(width, 2)
        q, k, v = (y.view(batch, context, self.heads, width // self.heads).transpose(1, 2) for y in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(mixed.transpose(1, 2).reshape(batch, context, width))
        out: Tensor = x + self.c_out(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))
        return out


RENAMED = {"attn.c_proj": "c_proj", "mlp.c_fc": "c_fc", "mlp.c_proj": "c_out", "ln_1": "ln_1", "ln_2": "ln_2"}
"""Names in our blocks and in `_Block`; q, k and v are joined apart from these."""


def nanogpt(model: GPT2) -> tuple[NanoGPT, Logits]:
    """nanoGPT's form with a copy of our weights, and its logits; the padded rows of the vocabulary are 0."""
    shape, given = model.shape, model.state_dict()
    padding = -shape.vocab_size % VOCAB_MULTIPLE
    state = {name: given[name] for name in ("wpe.weight", "ln_f.weight", "ln_f.bias")}
    state["wte.weight"] = F.pad(given["wte.weight"], (0, 0, 0, padding))
    for layer in range(shape.n_layer):
        for kind in ("weight", "bias"):
            for old, new in RENAMED.items():
                state[f"h.{layer}.{new}.{kind}"] = given[f"h.{layer}.{old}.{kind}"]
            parts = [given[f"h.{layer}.attn.{name}.{kind}"] for name in "qkv"]
            state[f"h.{layer}.c_attn.{kind}"] = torch.cat(parts)
    peer = NanoGPT(shape.n_embd, shape.n_head, shape.n_layer, shape.n_ctx, shape.vocab_size + padding)
    peer = peer.to(given["wpe.weight"].device)
    peer.load_state_dict(state)
    return peer, peer
