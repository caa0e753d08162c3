"""Weight matrices of one shape, stacked as rows [M, N]: what is read and measured of them at once.

On a CPU the cost of measuring is in passes over memory, so a stack is what a core's caches hold, and stacks
share the memory that they are worked on in. On a GPU the cost is in launches of kernels, so a stack is all
matrices of one shape.
"""

import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from variance_dynamics.weights.pieces import Piece, Shape
from variance_dynamics.weights.statistics import (
    STATS,
    WHOLE,
    Matrices,
    Reductions,
    epsilon_share,
    root_mean_square,
)

WEIGHT_STATS = ("std", "mean", "rms", "absmax", "kurtosis")
GRADIENT_STATS = ("norm", "kurtosis")
CACHED = 2**19
"""Elements of a stack on a CPU: so few that a core's caches hold them from one operation to the next."""
SHARED = 2**20
"""Elements of each buffer that the stacks on a CPU share; a larger stack allocates its own memory."""
Stats = dict[str, Tensor]
"""Statistic -> its values, one for each matrix, [M]."""
Buffers = Sequence[Tensor | None]
NO_BUFFERS: Buffers = (None, None, None)


@dataclass(frozen=True)
class Stack:
    """Matrices of one shape and one of the optimizer's param groups, which are measured together.

    `places` are their numbers among all matrices. `param_group` is None where no optimizer updates them.
    """

    places: list[int]
    pieces: list[Piece]
    weights: list[nn.Parameter]
    param_group: int | None
    buffers: Buffers = NO_BUFFERS
    reductions: Reductions = WHOLE

    def stacked(self, tensors: Sequence[Tensor], buffer: Tensor | None = None) -> Tensor:
        """The matrices' values in `tensors`, [M, N]; half precision as float32. It may be a view."""
        rows = [self.values(piece, each).flatten() for piece, each in zip(self.pieces, tensors, strict=True)]
        if len(rows) == 1:
            return _wide(rows[0][None])
        fits = buffer is not None and buffer.dtype == rows[0].dtype
        return _wide(torch.stack(rows, out=buffer if fits else None))

    def values(self, piece: Piece, tensor: Tensor) -> Tensor:
        """The values of `piece` that this process measures: here all of them."""
        values: Tensor = piece.of(tensor)
        return values

    def now(self) -> Tensor:
        """The weights, [M, N]."""
        return self.stacked([weight.detach() for weight in self.weights], self.buffers[0])

    def copied(self, kept: list[Tensor]) -> Tensor:
        """A copy of the weights, [M, N]; on a CPU the buffer in `kept` is reused."""
        if self.buffers[0] is None:
            return self.now().clone()
        if not kept:
            kept.append(torch.empty_like(self.buffers[0]))
        return kept[0].copy_(self.now())

    def gradients(self) -> Tensor:
        """The gradients, [M, N]; NaN where there is none."""
        grads = [torch.full_like(weight, torch.nan) if weight.grad is None else weight.grad
                 for weight in self.weights]
        return self.stacked(grads, self.buffers[0])

    def whole(self, index: int, row: Tensor) -> Tensor:
        """All values of matrix `index`, given those that this process holds, as one row."""
        return row

    def part(self, index: int, row: Tensor) -> Tensor:
        """The values of matrix `index` that this process holds, given all of them: undoes `whole`."""
        return row


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def stacks_of(model: nn.Module, pieces: Sequence[Piece], optimizer: torch.optim.Optimizer | None
              ) -> list[Stack]:
    """All pieces in stacks, as if no parameter were sharded."""
    param_groups = optimizer.param_groups if optimizer else []
    group_of = {id(weight): index for index, group in enumerate(param_groups) for weight in group["params"]}
    weights = [model.get_parameter(piece.tensor) for piece in pieces]
    alike: dict[Any, list[int]] = defaultdict(list)
    for place, (piece, weight) in enumerate(zip(pieces, weights, strict=True)):
        alike[piece.shape, weight.dtype, weight.device, group_of.get(id(weight))].append(place)
    shared: dict[torch.dtype, list[Tensor]] = {}
    return [Stack(places, [pieces[place] for place in places], [weights[place] for place in places],
                    key[-1], _buffers(shared, len(places), *key[:3]))
            for key, same in alike.items() for places in _divided(same, key[0], key[2])]


def _divided(places: list[int], shape: Shape, device: torch.device) -> list[list[int]]:
    size = max(1, CACHED // max(1, math.prod(shape))) if device.type == "cpu" else len(places)
    return [places[start : start + size] for start in range(0, len(places), size)]


def _buffers(shared: dict[torch.dtype, list[Tensor]], matrices: int, shape: Shape, dtype: torch.dtype,
             device: torch.device) -> Buffers:
    """Three buffers [M, N] for a stack on a CPU, cut from the memory that all stacks share."""
    size = matrices * math.prod(shape)
    if device.type != "cpu" or dtype not in (torch.float32, torch.float64) or size > SHARED:
        return NO_BUFFERS
    flat = shared.setdefault(dtype, [torch.empty(SHARED, dtype=dtype) for _ in range(3)])
    return [each[:size].view(matrices, -1) for each in flat]


def is_sharded(parameter: Tensor) -> bool:
    """Whether several processes hold a part each. Where DTensor was never imported nothing is sharded."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(parameter, module.DTensor)


def weight_stats(stack: Stack, weights: Tensor) -> Stats:
    """WEIGHT_STATS of the weights [M, N]."""
    shared = Matrices(weights, stack.reductions, stack.buffers[1])
    return {name: STATS[name](shared) for name in WEIGHT_STATS}


def gradient_stats(stack: Stack) -> Stats:
    """Norm and kurtosis of the gradients as they are now."""
    shared = Matrices(stack.gradients(), stack.reductions, stack.buffers[1])
    return {f"grad_{name}": STATS[name](shared) for name in GRADIENT_STATS}


def update_stats(optimizer: torch.optim.Optimizer, stack: Stack, before: Tensor, after: Tensor) -> Stats:
    """Rms of the update u = (after - (1 - lr wd) before) / lr, and Adam's epsilon share.

    `before` and `after` are the weights [M, N]; `before` is overwritten. wd is 0 where the decay is not
    decoupled. Without a learning rate u is NaN. There is an epsilon share where the optimizer has Adam's v.
    """
    if stack.param_group is None:
        return {}
    settings = optimizer.param_groups[stack.param_group]
    lr = settings["lr"]
    decoupled = settings.get("decoupled_weight_decay", isinstance(optimizer, torch.optim.AdamW))
    update = torch.sub(after, before, out=stack.buffers[2])
    if decoupled and settings["weight_decay"]:
        update.add_(before.mul_(lr * settings["weight_decay"]))
    rms = root_mean_square(update, stack.reductions, stack.buffers[1])
    stats = {"update_rms": rms / (lr if isinstance(lr, Tensor) else lr or math.nan)}
    states = [optimizer.state.get(weight, {}) for weight in stack.weights]
    if all({"exp_avg_sq", "step"} <= state.keys() for state in states):
        stats["epsilon_share"] = _epsilon_share(states, stack, settings)
    return stats


def _epsilon_share(states: list[dict[str, Any]], stack: Stack, settings: dict[str, Any]) -> Tensor:
    seconds = stack.stacked([state["exp_avg_sq"] for state in states], stack.buffers[2])
    done = torch.stack([torch.as_tensor(state["step"]) for state in states]).double()
    correction = (1 - settings["betas"][1] ** done)[:, None]
    correction = correction.to(seconds.device, seconds.dtype, non_blocking=True)
    return epsilon_share(seconds, correction, settings["eps"], stack.reductions, stack.buffers[1])
