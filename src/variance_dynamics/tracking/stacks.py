"""Weight matrices of one shape, stacked as rows [M, N]: what is read of them at once.

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

from variance_dynamics.tracking.optimizers import owners, updated_tensors
from variance_dynamics.weights.pieces import Piece, Shape
from variance_dynamics.weights.statistics import WHOLE, Reductions

CACHED = 2**19
"""Elements of a stack on a CPU: so few that a core's caches hold them from one operation to the next."""
SHARED = 2**20
"""Elements of each buffer that the stacks on a CPU share; a larger stack allocates its own memory."""
Buffers = Sequence[Tensor | None]
NO_BUFFERS: Buffers = (None, None, None)


@dataclass(frozen=True)
class Stack:
    """Matrices of one shape and one param group of one optimizer, which are measured together.

    `places` are their numbers among all matrices; `weights` are what the optimizer updates. Where none does,
    `param_group` is None and `optimizer` 0: they are measured after the first optimizer's steps.
    """

    places: list[int]
    pieces: list[Piece]
    weights: list[nn.Parameter]
    param_group: int | None
    optimizer: int = 0
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


def stacks_of(model: nn.Module, pieces: Sequence[Piece], optimizers: Sequence[torch.optim.Optimizer]
              ) -> list[Stack]:
    """All pieces in stacks, as if no parameter were sharded."""
    owner, copies = owners(optimizers), updated_tensors(model, optimizers)
    parameters = [model.get_parameter(piece.tensor) for piece in pieces]
    weights = [copies.get(id(parameter), parameter) for parameter in parameters]
    alike: dict[Any, list[int]] = defaultdict(list)
    for place, (piece, weight) in enumerate(zip(pieces, weights, strict=True)):
        alike[piece.shape, weight.dtype, weight.device, owner.get(id(weight), (0, None))].append(place)
    shared: dict[torch.dtype, list[Tensor]] = {}
    return [Stack(places, [pieces[place] for place in places], [weights[place] for place in places],
                    key[-1][1], key[-1][0], _buffers(shared, len(places), *key[:3]))
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
