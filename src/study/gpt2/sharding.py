"""State that is spread over processes (FSDP2's DTensors), whole for a checkpoint and cut again afterwards."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from variance_dynamics.tracking.histograms import Histograms
from variance_dynamics.tracking.sharded import LocalGroup, sharded
from variance_dynamics.tracking.tracker import Group, Tracker
from variance_dynamics.weights.pieces import Piece


def full(value: Tensor) -> Tensor:
    """A tensor that may be sharded, whole in all processes."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def whole(state: Any) -> Any:
    """`state` (a tensor, or a dict or list of them) with each sharded tensor gathered, for the first process.

    One at a time, so that no device ever holds two; the first process keeps them in the host's memory, and
    what the others get in their place is empty. All processes must call this.
    """
    if isinstance(state, dict):
        return {key: whole(each) for key, each in state.items()}
    if isinstance(state, list):
        return [whole(each) for each in state]
    return _kept(state.full_tensor()) if isinstance(state, DTensor) else state


def _kept(value: Tensor) -> Tensor:
    return value.cpu() if dist.get_rank() == 0 else value.new_empty(0)


def like(value: Tensor, example: Tensor) -> Tensor:
    """A whole tensor, cut as `example` is; nothing travels, since every process holds all of it."""
    if not isinstance(example, DTensor) or value.shape != example.shape:
        return value
    return distribute_tensor(value.to(example.device), example.device_mesh, example.placements,
                             src_data_rank=None)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """`optimizer.load_state_dict` of a whole state: every tensor is cut like its parameter."""
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    cut = {number: {name: like(value, weight) for name, value in state["state"][number].items()}
           for number, weight in zip(numbers, weights, strict=True) if number in state["state"]}
    optimizer.load_state_dict({**state, "state": cut})


class ShardedTracker(Tracker):
    """Each process measures its own rows of every matrix; all take part and end with the same table."""

    def _grouped(self, model: nn.Module, pieces: list[Piece]) -> list[Group]:
        return sharded(super()._grouped(model, pieces))

    def state_dict(self) -> dict[str, Any]:
        """As of one process, in the first: anchors are whole."""
        state = super().state_dict()
        weights = self._weights()
        anchors = {name: {place: _gathered(row, weights[place]) for place, row in kept.items()}
                   for name, kept in state["anchors"].items()}
        return state | {"anchors": anchors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over this process's rows of what `state_dict` gave, with any number of processes."""
        weights = self._weights()
        anchors = {name: {place: _cut(row, weights[place]) for place, row in kept.items()}
                   for name, kept in state["anchors"].items()}
        super().load_state_dict(state | {"anchors": anchors})

    def _weights(self) -> dict[int, Tensor | None]:
        """Of each place, the weight whose rows are spread over processes; None where they are not."""
        return {place: weight if isinstance(group, LocalGroup) else None
                for group in self.groups for place, weight in zip(group.places, group.weights, strict=True)}


def _gathered(row: Tensor, weight: Tensor | None) -> Tensor:
    if not isinstance(weight, DTensor):
        return row
    local = row.view(weight.to_local().shape)
    spread = DTensor.from_local(local, weight.device_mesh, weight.placements, run_check=False,
                                shape=weight.shape, stride=weight.stride())
    return _kept(spread.full_tensor().flatten())


def _cut(row: Tensor, weight: Tensor | None) -> Tensor:
    if not isinstance(weight, DTensor):
        return row
    cut = like(row.view(weight.shape), weight)
    assert isinstance(cut, DTensor)
    return cut.to_local().flatten()


class ShardedHistograms(Histograms):
    """Histograms of matrices that are put together for it; all processes take part."""

    def values(self, weight: Tensor) -> Tensor:
        """The whole matrix."""
        return super().values(full(weight))


def tracker_of(model: nn.Module) -> type[Tracker]:
    """The tracker for a model whose parameters may be sharded."""
    return ShardedTracker if is_sharded(model) else Tracker


def histograms_of(model: nn.Module) -> type[Histograms]:
    """The histograms for a model whose parameters may be sharded."""
    return ShardedHistograms if is_sharded(model) else Histograms


def is_sharded(model: nn.Module) -> bool:
    """Whether any parameter lies on several processes."""
    return any(isinstance(weight, DTensor) for weight in model.parameters())
