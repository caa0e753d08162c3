"""What is measured of a stack: weights, gradients, updates, and where the change of its norm comes from."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from variance_dynamics.tracking.optimizers import decay_rate, decoupled, learning_rate
from variance_dynamics.tracking.stacks import Stack
from variance_dynamics.weights.statistics import STATS, Matrices, epsilon_share, root_mean_square

WEIGHT_STATS = ("std", "mean", "rms", "absmax", "kurtosis")
GRADIENT_STATS = ("norm", "kurtosis")
BUDGET_STATS = ("budget_alignment", "budget_injection", "budget_decay")
Stats = dict[str, Tensor]
"""Statistic -> its values, one for each matrix, [M]."""
ADAM = ("exp_avg_sq", "step")
"""What the state of an Adam holds of a parameter."""


def weight_stats(stack: Stack, weights: Tensor) -> Stats:
    """WEIGHT_STATS of the weights [M, N]."""
    shared = Matrices(weights, stack.reductions, stack.buffers[1])
    return {name: STATS[name](shared) for name in WEIGHT_STATS}


def gradient_stats(stack: Stack) -> Stats:
    """Norm and kurtosis of the gradients as they are now."""
    shared = Matrices(stack.gradients(), stack.reductions, stack.buffers[1])
    return {f"grad_{name}": STATS[name](shared) for name in GRADIENT_STATS}


def still(stack: Stack) -> list[int]:
    """Numbers of the matrices without a gradient: an optimizer leaves them as they are, decay included."""
    return [row for row, weight in enumerate(stack.weights) if weight.grad is None]


def setting_stats(optimizer: Optimizer, stack: Stack, first: bool) -> Stats:
    """lr and decoupled weight_decay of the stack's param group, as the last step had them.

    nan where there is no lr, and where the decay is a part of the update. At the `first` dump also the shape
    of the stored tensor: rows, and columns (all other dimensions together).
    """
    if stack.param_group is None:
        return {}
    group = optimizer.param_groups[stack.param_group]
    lr = learning_rate(group)
    values = {"lr": math.nan if lr is None else lr, "weight_decay": decay_rate(optimizer, group)}
    device = stack.weights[0].device
    stats = {name: _each(value, len(stack.places), device) for name, value in values.items()}
    if first:
        shapes = [weight.shape for weight in stack.weights]
        stats |= {"rows": torch.tensor([float(shape[0]) for shape in shapes]),
                  "columns": torch.tensor([float(math.prod(shape[1:])) for shape in shapes])}
    return stats


def _each(value: Any, count: int, device: torch.device) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().to(device, torch.float64).expand(count)
    return torch.full((count,), float(value), dtype=torch.float64, device=device)


class Update:
    """One update of a stack: `moved` [M, N] = after - (1 - lr wd) before = -lr u, u being without decay.

    `before` and `after` are the weights [M, N]; `before` is overwritten. wd is 0 where the decay is not
    decoupled, for the matrices `unmoved` that had no gradient, and where a fused optimizer skipped the step.
    With `budget`, `terms` [3, M] are BUDGET_STATS.
    """

    def __init__(self, optimizer: Optimizer, stack: Stack, before: Tensor, after: Tensor,
                 unmoved: list[int], budget: bool) -> None:
        self.stack = stack
        group = optimizer.param_groups[stack.param_group or 0]
        self.lr, shrinks = learning_rate(group), decoupled(optimizer, group)
        self.moved = torch.sub(after, before, out=stack.buffers[2])
        for row in unmoved:
            before[row].zero_()
        share: Any = 0.0  # of a weight that is taken by decay: lr wd
        if shrinks and group.get("weight_decay") and self.lr is not None:
            share = self.lr * group["weight_decay"]
            skipped = getattr(optimizer, "found_inf", None)
            if isinstance(skipped, Tensor):  # set by GradScaler while a fused optimizer's step runs
                before = before.mul_(1 - skipped.to(before))
        self.terms = self._budget(before, share) if budget else None
        if not isinstance(share, float) or share:
            self.moved.add_(before.mul_(share))

    def _budget(self, before: Tensor, share: Any) -> Tensor:
        """What the update adds to mean(W^2): <(1 - s) W, -2 lr u>, lr^2 u^2 and (s^2 - 2 s) W^2, s = lr wd.

        From `moved` before decay is taken out of it.
        """
        mean, buffer = self.stack.reductions.mean, self.stack.buffers[1]
        squares = mean(torch.mul(before, before, out=buffer))
        dots = mean(torch.mul(before, self.moved, out=buffer))
        moved = mean(torch.mul(self.moved, self.moved, out=buffer))
        along = dots + share * squares
        injected = moved + 2 * share * dots + share * share * squares
        return torch.stack([2 * (1 - share) * along, injected, (share * share - 2 * share) * squares])

    def rms(self) -> Tensor:
        """Rms of u, in units of the lr; nan without one."""
        rms = root_mean_square(self.moved, self.stack.reductions, self.stack.buffers[1])
        lr = math.nan if self.lr is None else self.lr
        return rms / (lr if isinstance(lr, Tensor) else lr or math.nan)


def epsilon_stats(optimizer: Optimizer, stack: Stack) -> Stats:
    """Adam's epsilon share, where the optimizer is one; nan for a matrix that it has not updated yet."""
    if stack.param_group is None:
        return {}
    group = optimizer.param_groups[stack.param_group]
    states = [optimizer.state.get(weight, {}) for weight in stack.weights]
    known = [all(name in state for name in ADAM) and state["exp_avg_sq"].shape == weight.shape
             for state, weight in zip(states, stack.weights, strict=True)]
    betas, eps = group.get("betas"), group.get("eps")
    if not any(known) or not isinstance(betas, tuple | list) or not isinstance(eps, float):
        return {}
    rows = [state if there else {"exp_avg_sq": torch.full_like(weight, torch.nan), "step": 1.0}
            for state, there, weight in zip(states, known, stack.weights, strict=True)]
    return {"epsilon_share": _epsilon_share(rows, stack, betas[1], eps)}


def _epsilon_share(states: list[dict[str, Any]], stack: Stack, beta2: Any, eps: float) -> Tensor:
    seconds = stack.stacked([state["exp_avg_sq"].detach() for state in states], stack.buffers[2])
    done = torch.stack([torch.as_tensor(state["step"]) for state in states]).double()
    correction = (1 - beta2 ** done)[:, None]
    correction = correction.to(seconds.device, seconds.dtype, non_blocking=True)
    return epsilon_share(seconds, correction, eps, stack.reductions, stack.buffers[1])
