"""Sharded parameters (DTensor, as FSDP2 makes them): statistics of whole matrices from their shards' sums."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ReduceOp, all_reduce
from torch.distributed.tensor import DTensor, Shard

from variance_dynamics.tracking.tracker import Group
from variance_dynamics.weights.pieces import Piece
from variance_dynamics.weights.statistics import ROWS, Rows


class Shards(Rows):
    """Rows [M, n] that hold a rank's part of matrices of `total` elements; every rank must take part."""

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


class LocalGroup(Group):
    """A group of which this rank holds some rows of each matrix."""

    def values(self, piece: Piece, tensor: Tensor) -> Tensor:
        """The part of the piece that lies on this rank."""
        assert isinstance(tensor, DTensor)
        local = tensor.to_local()
        if piece.cut is None or piece.cut.axis == 1:
            part: Tensor = piece.of(local)
            return part
        here = _rows_here(tensor)
        rows = piece.of(torch.arange(tensor.shape[0])).flatten()
        return local[(rows[(rows >= here.start) & (rows < here.stop)] - here.start).to(local.device)]


class GatheredGroup(Group):
    """A group whose matrices are put together on every rank, in turn: for what is cut in other ways."""

    def values(self, piece: Piece, tensor: Tensor) -> Tensor:
        """The whole piece."""
        values: Tensor = piece.of(tensor.full_tensor() if isinstance(tensor, DTensor) else tensor)
        return values


def sharded(groups: Sequence[Group]) -> list[Group]:
    """The groups once more, divided so that what is stacked is sharded alike; the same on every rank."""
    return [part for group in groups for part in _divided(group)]


def _divided(group: Group) -> list[Group]:
    alike: dict[Any, list[int]] = defaultdict(list)
    for at, (piece, weight) in enumerate(zip(group.pieces, group.weights, strict=True)):
        # of a fused tensor a rank may hold all of q and half of k
        own = at if piece.cut is not None else None
        layout = (weight.device_mesh, weight.placements) if isinstance(weight, DTensor) else None
        alike[own, layout].append(at)
    return [_group(group, places) for places in alike.values()]


def _group(group: Group, at: list[int]) -> Group:
    """The matrices at some places of a group, as a group of the right kind."""
    piece, weight = group.pieces[at[0]], group.weights[at[0]]
    part = replace(group, places=[group.places[i] for i in at], pieces=[group.pieces[i] for i in at],
                   weights=[group.weights[i] for i in at], room=(None, None, None))
    if not isinstance(weight, DTensor):
        return part
    dims = [dim for dim, placement in enumerate(weight.placements) if placement.is_shard()]
    simple = len(dims) == 1 and type(weight.placements[dims[0]]) is Shard
    if not simple or (piece.cut is not None and weight.placements[dims[0]] != Shard(0)):
        return GatheredGroup(part.places, part.pieces, part.weights, part.owner, part.room, ROWS)
    rows = Shards(math.prod(piece.shape), weight.device_mesh.get_group(dims[0]))
    return LocalGroup(part.places, part.pieces, part.weights, part.owner, part.room, rows)


def _rows_here(tensor: DTensor) -> range:
    """Rows that this rank holds of a tensor sharded along axis 0: equal parts, the last ones shorter."""
    dim = next(dim for dim, placement in enumerate(tensor.placements) if placement.is_shard())
    mesh = tensor.device_mesh
    size = -(-tensor.shape[0] // mesh.size(dim))
    start = min(tensor.shape[0], size * mesh.get_local_rank(dim))
    return range(start, min(tensor.shape[0], start + size))
