"""Statistics of the outputs of layers, measured by hooks in the first forward pass before an update."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from variance_dynamics.base.errors import BadInput
from variance_dynamics.tracking.measures import WEIGHT_STATS, Stats
from variance_dynamics.weights.pieces import Piece
from variance_dynamics.weights.statistics import STATS, Matrices

COMPILED = "_orig_mod"


class Activations:
    """Statistics of the output of each layer that holds one of `pieces`, in training mode.

    While `due` is set, the first output since the last `take` is measured: of several micro batches that of
    the first one, and not what activation checkpointing computes again. A piece that is not the weight of a
    layer (a class token, for example) gets NaN. Raises BadInput for a model under torch.compile, whose layers
    call no hooks.
    """

    def __init__(self, model: nn.Module, pieces: Sequence[Piece]) -> None:
        if any(COMPILED in name.split(".") for name, _ in model.named_modules()):
            raise BadInput("activations of a compiled model: expected the model before torch.compile")
        self.pieces = pieces
        self.due = False
        self.measured: dict[int, Tensor] = {}
        self.handles = [module.register_forward_hook(self._hook(places))
                        for module, places in _layers(model, pieces)]

    def _hook(self, places: list[int]) -> Callable[[nn.Module, Any, Any], None]:
        @torch.no_grad()
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if self.due and module.training and places[0] not in self.measured and isinstance(output, Tensor):
                for place in places:
                    self.measured[place] = _statistics(self.pieces[place], output.detach())

        return hook

    def take(self) -> Stats:
        """Statistic -> values in the order of the pieces, [P]; empty if there was no forward pass."""
        measured, self.measured = self.measured, {}
        if not measured:
            return {}
        first = next(iter(measured.values()))
        absent = torch.full_like(first, torch.nan)
        table = torch.stack([measured.get(place, absent).to(first) for place in range(len(self.pieces))], 1)
        return {f"activation_{name}": values for name, values in zip(WEIGHT_STATS, table, strict=True)}

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self.handles:
            handle.remove()


def _layers(model: nn.Module, pieces: Sequence[Piece]) -> list[tuple[nn.Module, list[int]]]:
    """Modules without children that hold pieces as their weight, with the places of these pieces.

    A stack of experts is none of them: its output is not that of one expert.
    """
    places: dict[str, list[int]] = {}
    for place, piece in enumerate(pieces):
        path, _, name = piece.tensor.rpartition(".")
        if name == "weight" and (piece.cut is None or piece.cut.index is None):
            places.setdefault(path, []).append(place)
    layers = [(model.get_submodule(path), of_module) for path, of_module in places.items()]
    return [(module, of_module) for module, of_module in layers if not any(module.children())]


def _statistics(piece: Piece, output: Tensor) -> Tensor:
    """WEIGHT_STATS of the part of a layer's output that comes from this piece."""
    if piece.cut is not None:  # features are the last axis of the output, whatever their axis in the weight
        output = replace(piece, cut=replace(piece.cut, axis=0)).of(output.movedim(-1, 0))
    shared = Matrices(output.reshape(1, -1))
    return torch.cat([STATS[name](shared) for name in WEIGHT_STATS]).double()
