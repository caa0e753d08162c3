"""Statistics of what layers give, taken by hooks in the first forward pass before an update."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from variance_dynamics.base.errors import BadInput
from variance_dynamics.tracking.tracker import WEIGHT_STATS, Stats
from variance_dynamics.weights.pieces import Piece
from variance_dynamics.weights.statistics import STATS, Matrices

COMPILED = "_orig_mod"


class Activations:
    """Outputs of the layers that hold `pieces`, in training mode, once for each time that `due` is set.

    Of several micro batches the first counts, and what activation checkpointing computes again does not. What
    is no layer's weight (a class token, say) stays NaN. Raises BadInput for a model under torch.compile, into
    which no hook reaches.
    """

    def __init__(self, model: nn.Module, pieces: Sequence[Piece]) -> None:
        if any(COMPILED in name.split(".") for name, _ in model.named_modules()):
            raise BadInput("activations of a compiled model: expected the model before torch.compile")
        self.pieces = pieces
        self.due = False
        self.found: dict[int, Tensor] = {}
        self.handles = [module.register_forward_hook(self._hook(places))
                        for module, places in _layers(model, pieces)]

    def _hook(self, places: list[int]) -> Callable[[nn.Module, Any, Any], None]:
        @torch.no_grad()
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if self.due and module.training and places[0] not in self.found and isinstance(output, Tensor):
                for place in places:
                    self.found[place] = _measured(self.pieces[place], output.detach())

        return hook

    def take(self) -> Stats:
        """Statistic -> values in the order of the pieces, [P]; none where no forward pass was seen."""
        found, self.found = self.found, {}
        if not found:
            return {}
        first = next(iter(found.values()))
        absent = torch.full_like(first, torch.nan)
        table = torch.stack([found.get(place, absent).to(first) for place in range(len(self.pieces))], 1)
        return {f"activation_{name}": values for name, values in zip(WEIGHT_STATS, table, strict=True)}

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self.handles:
            handle.remove()


def _layers(model: nn.Module, pieces: Sequence[Piece]) -> list[tuple[nn.Module, list[int]]]:
    """Modules without children whose weight the pieces are; and the pieces' places."""
    places: dict[str, list[int]] = {}
    for place, piece in enumerate(pieces):
        path, _, name = piece.tensor.rpartition(".")
        if name == "weight":
            places.setdefault(path, []).append(place)
    layers = [(model.get_submodule(path), found) for path, found in places.items()]
    return [(module, found) for module, found in layers if not any(module.children())]


def _measured(piece: Piece, output: Tensor) -> Tensor:
    """WEIGHT_STATS of what this piece gives: of a fused layer's output, its features."""
    if piece.cut is not None:  # features are the last axis of the output, whichever the weight has them on
        output = replace(piece, cut=replace(piece.cut, axis=0)).of(output.movedim(-1, 0))
    shared = Matrices(output.reshape(1, -1))
    return torch.cat([STATS[name](shared) for name in WEIGHT_STATS]).double()
