"""AdamW (Loshchilov and Hutter, arXiv 1711.05101) and its learning rate through a run."""

import math

import torch
from torch import nn

from variance_dynamics.training.gpt2_params import Gpt2Run


def adamw(model: nn.Module, run: Gpt2Run) -> torch.optim.AdamW:
    """Weight decay on every matrix, both embeddings included, as in nanoGPT; none on biases and norms."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in parameters if p.ndim >= 2], "weight_decay": run.weight_decay},
              {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=run.lr, betas=(run.beta1, run.beta2), eps=run.eps, fused=True)


def lr_at(step: int, run: Gpt2Run) -> float:
    """Learning rate of update `step` (from 0): linear warmup from lr/warmup_steps, then cosine or constant.

    Cosine ends at min_lr_ratio * lr with the last update.
    """
    if step < run.warmup_steps:
        return run.lr * (step + 1) / run.warmup_steps
    if run.schedule == "constant":
        return run.lr
    progress = (step - run.warmup_steps) / max(1, run.steps - 1 - run.warmup_steps)
    floor = run.lr * run.min_lr_ratio
    return floor + 0.5 * (1 + math.cos(math.pi * progress)) * (run.lr - floor)
