"""Small models trained for some hundred steps, saved as people save them, beside a Tracker."""

import torch
from torch import nn

from networks import NanoGPT, transformer
from variance_dynamics import Tracker

LR, WARMUP, DECAY = 2e-3, 20, 0.1


class Logits(nn.Module):
    """NanoGPT of `networks` with a forward pass of its own, since there it has parameters only."""

    def __init__(self, heads=4):
        super().__init__()
        self.model, self.heads = NanoGPT(width=64), heads

    def forward(self, tokens):
        parts = self.model.get_submodule("transformer")
        x = parts["wte"](tokens) + parts["wpe"](torch.arange(tokens.shape[1]))
        for block in parts["h"]:
            q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                       for part in block.attn["c_attn"](block.ln_1(x)).chunk(3, -1))
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + block.attn["c_proj"](mixed.transpose(1, 2).flatten(2))
            x = x + block.mlp["c_proj"](nn.functional.gelu(block.mlp["c_fc"](block.ln_2(x))))
        return self.model.lm_head(parts["ln_f"](x))


def made(family):
    """(model, function of tokens that gives logits): nanogpt, or a family of transformers."""
    torch.manual_seed(0)
    if family == "nanogpt":
        outer = Logits()
        return outer.model, outer
    model = transformer(family, width=64)
    return model, lambda tokens: model(tokens).logits


def lr_at(step, steps):
    """Linear warmup, then linear to a tenth."""
    return LR * ((step + 1) / WARMUP if step < WARMUP else 1 - 0.9 * (step - WARMUP) / (steps - WARMUP))


def train(model, logits, save, every=50, steps=350, start=lambda model: None):
    """Train on sequences that count up; `save(step)` at step 0 and at every `every`-th. Returns the table."""
    start(model)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY)
    generator = torch.Generator().manual_seed(1)
    save(0)
    with Tracker(model, optimizer, every=every) as tracker:
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = lr_at(step, steps)
            first = torch.randint(0, 101, (8, 1), generator=generator)
            tokens = (first + torch.arange(24)) % 101
            loss = nn.functional.cross_entropy(logits(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if (step + 1) % every == 0:
                save(step + 1)
    return tracker.frame()


def saved(model, folder, family):
    """A function of the step that saves the model: nanoGPT's ckpt.pt, or save_pretrained in shards."""
    def save(step):
        if family == "nanogpt":
            folder.mkdir(exist_ok=True)
            torch.save({"model": model.state_dict(), "model_args": {"n_layer": 2, "n_head": 4, "n_embd": 64},
                        "iter_num": step}, folder / f"ckpt_{step:07d}.pt")
        else:
            model.save_pretrained(folder / f"checkpoint-{step}", max_shard_size="150KB")
    return save
