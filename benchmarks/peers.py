"""GPT-2 in nanoGPT's form, and the training loop that one writes by hand around a model."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.gpt2.model import GPT2
from study.gpt2.pretrain import Pretraining

VOCAB_MULTIPLE = 64
Logits = Callable[[Tensor], Tensor]


@dataclass
class Peer:
    """A model with our weights in the usual loop on our batches: whole logits, clipping, AdamW."""

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
        """One update; the loss before it, which nothing has waited for."""
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
    """nanoGPT's form: one product for q, k and v, PyTorch's fused attention, a vocabulary of whole 64s."""

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
"""Ours to a block's names here, q, k and v apart."""


def nanogpt(model: GPT2) -> tuple[NanoGPT, Logits]:
    """nanoGPT's form with a copy of our weights; what the vocabulary is padded with is 0."""
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
    found = NanoGPT(shape.n_embd, shape.n_head, shape.n_layer, shape.n_ctx, shape.vocab_size + padding)
    found = found.to(given["wpe.weight"].device)
    found.load_state_dict(state)
    return found, found
