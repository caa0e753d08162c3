"""Sharded parameters (DTensor, as FSDP2 makes them): gathered, cut again, and measured as whole matrices."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ReduceOp, all_reduce
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from variance_dynamics.tracking.stacks import NO_BUFFERS, Stack
from variance_dynamics.weights.pieces import Piece
from variance_dynamics.weights.statistics import Reductions


def gathered(value: Tensor) -> Tensor:
    """A tensor that may be sharded, whole in all processes. All processes must call this."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def for_checkpoint(state: Any) -> Any:
    """`state` (a tensor, or a dict or list of them) with each sharded tensor gathered for the first process.

    One tensor at a time, so that no device ever holds two whole ones. The first process keeps them in the
    host's memory, the others keep empty ones. All processes must call this.
    """
    if isinstance(state, dict):
        return {key: for_checkpoint(each) for key, each in state.items()}
    if isinstance(state, list):
        return [for_checkpoint(each) for each in state]
    return _on_the_first(state.full_tensor()) if isinstance(state, DTensor) else state


def _on_the_first(value: Tensor) -> Tensor:
    return value.cpu() if dist.get_rank() == 0 else value.new_empty(0)


def cut_like(value: Tensor, example: Tensor) -> Tensor:
    """A whole tensor, sharded as `example` is. Nothing is sent, since every process has all of it."""
    if not isinstance(example, DTensor) or value.shape != example.shape:
        return value
    return distribute_tensor(value.to(example.device), example.device_mesh, example.placements,
                             src_data_rank=None)


class ShardReductions(Reductions):
    """Reductions of matrices of `total` elements of which each process holds a part, as rows [M, n].

    Every process must take part in each call.
    """

    def __init__(self, total: int, process_group: Any) -> None:
        self.total, self.process_group = total, process_group

    def size(self, values: Tensor) -> int:
        return self.total

    def mean(self, values: Tensor) -> Tensor:
        sums = values.sum(1)
        all_reduce(sums, ReduceOp.SUM, self.process_group)
        return sums / self.total

    def largest(self, values: Tensor) -> Tensor:
        largest = super().largest(values).nan_to_num(nan=math.inf, posinf=math.inf)  # a maximum may lose NaN
        all_reduce(largest, ReduceOp.MAX, self.process_group)
        return largest


class ShardStack(Stack):
    """Matrices of which this process holds some rows or columns each; it measures those."""

    def values(self, piece: Piece, tensor: Tensor) -> Tensor:
        """The part of the piece that this process holds."""
        assert isinstance(tensor, DTensor)
        local = tensor.to_local()
        if piece.cut is None or piece.cut.axis == 1:
            part: Tensor = piece.of(local)
            return part
        return local[_local_rows(piece, tensor).to(local.device)]

    def whole(self, index: int, row: Tensor) -> Tensor:
        """Gathered for the first process; the others get an empty one."""
        piece, weight = self.pieces[index], self.weights[index]
        assert isinstance(weight, DTensor)
        local = row.new_zeros(weight.to_local().shape)
        if piece.cut is None or piece.cut.axis == 1:
            view = piece.of(local)
            view.copy_(row.view(view.shape))
        else:
            local[_local_rows(piece, weight).to(row.device)] = row.view(-1, *local.shape[1:])
        spread = DTensor.from_local(local, weight.device_mesh, weight.placements, run_check=False,
                                    shape=weight.shape, stride=weight.stride())
        return _on_the_first(piece.of(spread.full_tensor()).flatten())

    def part(self, index: int, row: Tensor) -> Tensor:
        """This process's part, with any number of processes."""
        piece, weight = self.pieces[index], self.weights[index]
        full = row.new_zeros(weight.shape)
        view = piece.of(full)
        view.copy_(row.view(view.shape))
        return self.values(piece, cut_like(full, weight)).flatten()


class GatheredStack(Stack):
    """Matrices that every process puts together in order to measure them: what is sharded in other ways."""

    def values(self, piece: Piece, tensor: Tensor) -> Tensor:
        """The whole piece."""
        values: Tensor = piece.of(gathered(tensor))
        return values


def sharded_stacks(stacks: Sequence[Stack]) -> list[Stack]:
    """The same matrices in stacks of which each is sharded in one way; the same ones in every process."""
    return [part for stack in stacks for part in _divided(stack)]


def _divided(stack: Stack) -> list[Stack]:
    alike: dict[Any, list[int]] = defaultdict(list)
    for index, (piece, weight) in enumerate(zip(stack.pieces, stack.weights, strict=True)):
        # of a fused tensor a process may hold all of q and half of k, so a piece of one is a stack of its own
        own = index if piece.cut is not None else None
        layout = (weight.device_mesh, weight.placements) if isinstance(weight, DTensor) else None
        alike[own, layout].append(index)
    return [_stack(stack, indices) for indices in alike.values()]


def _stack(stack: Stack, indices: list[int]) -> Stack:
    """Some matrices of a stack, which are sharded alike, as a stack of the right kind."""
    piece, weight = stack.pieces[indices[0]], stack.weights[indices[0]]
    part = replace(stack, places=[stack.places[i] for i in indices], buffers=NO_BUFFERS,
                   pieces=[stack.pieces[i] for i in indices], weights=[stack.weights[i] for i in indices])
    if not isinstance(weight, DTensor):
        return part
    dims = [dim for dim, placement in enumerate(weight.placements) if placement.is_shard()]
    simple = len(dims) == 1 and type(weight.placements[dims[0]]) is Shard
    cut = piece.cut
    if not simple or (cut is not None and (cut.index is not None or weight.placements[dims[0]] != Shard(0))):
        return GatheredStack(**vars(part))
    reductions = ShardReductions(math.prod(piece.shape), weight.device_mesh.get_group(dims[0]))
    return ShardStack(**vars(part) | {"reductions": reductions})


def _local_rows(piece: Piece, tensor: DTensor) -> Tensor:
    """Rows of `piece` in this process, as their numbers in its part of a tensor sharded along axis 0.

    FSDP2 gives each process an equal number of rows, but the last ones fewer.
    """
    dim = next(dim for dim, placement in enumerate(tensor.placements) if placement.is_shard())
    size = -(-tensor.shape[0] // tensor.device_mesh.size(dim))
    start = min(tensor.shape[0], size * tensor.device_mesh.get_local_rank(dim))
    rows: Tensor = piece.of(torch.arange(tensor.shape[0])).flatten()
    return rows[(rows >= start) & (rows < min(tensor.shape[0], start + size))] - start
