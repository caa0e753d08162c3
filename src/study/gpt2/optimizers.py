"""AdamW (Loshchilov and Hutter, arXiv 1711.05101) and its learning rate through a run."""

import torch
from torch import nn

from study.gpt2.params import Gpt2Run
from variance_dynamics.base.learning_rate import learning_rate


def adamw(model: nn.Module, run: Gpt2Run) -> torch.optim.AdamW:
    """Weight decay on every matrix, both embeddings included, as in nanoGPT; none on biases and norms."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in parameters if p.ndim >= 2], "weight_decay": run.weight_decay},
              {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=run.lr, betas=(run.beta1, run.beta2), eps=run.eps, fused=True)


def lr_at(step: int, run: Gpt2Run) -> float:
    """Learning rate of update `step`, from 0."""
    return learning_rate(step, run.lr, run.schedule, run.warmup_steps, run.steps, run.min_lr_ratio)
