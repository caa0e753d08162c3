"""The matrices of a model in stacks, by the optimizer that updates them, also where that changes."""

import warnings
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from variance_dynamics.tracking.arguments import BUDGET, UPDATES, shown
from variance_dynamics.tracking.optimizers import check_owned, undecided
from variance_dynamics.tracking.stacks import Stack, is_sharded, stacks_of
from variance_dynamics.weights.pieces import Piece


class Layout:
    """The stacks of `pieces`, whose values are those of `model`'s parameters or what an optimizer updates.

    Numbers of optimizers count from 0; None stands for all. Every process must make one where any parameter
    is sharded. Raises BadInput for an optimizer that updates nothing of the model.
    """

    def __init__(self, model: nn.Module, pieces: Sequence[Piece], optimizers: Sequence[Optimizer]) -> None:
        self.model, self.pieces, self.optimizers = model, pieces, optimizers
        self.warned = False
        check_owned(model, optimizers)
        self._stack()

    def _stack(self) -> None:
        self.stacks = stacks_of(self.model, self.pieces, self.optimizers)
        self.sharded = any(map(is_sharded, self.model.parameters()))
        if self.sharded:
            from variance_dynamics.tracking.sharded import sharded_stacks  # its imports take .8 s

            self.stacks = sharded_stacks(self.stacks)
        self.device = self.stacks[0].weights[0].device
        numbers = (None, *range(max(1, len(self.optimizers))))
        self.orders = {number: self._order(self.of(number)) for number in numbers}
        split = [piece.tensor.rpartition(".") for piece in self.pieces]
        self._homes = [(self.model.get_submodule(path), name) for path, _, name in split]
        self._seen = self._identities()

    def of(self, number: int | None) -> list[int]:
        """Indices of the stacks whose matrices this optimizer updates."""
        return [index for index, stack in enumerate(self.stacks) if number in (None, stack.optimizer)]

    def _order(self, stacks: Sequence[int]) -> tuple[list[int], Tensor]:
        """The places of the matrices in these stacks, sorted, and the index that sorts them."""
        places = [place for index in stacks for place in self.stacks[index].places]
        return sorted(places), torch.tensor(places, dtype=torch.long).argsort().to(self.device)

    def _identities(self) -> list[int]:
        """Of the parameters, and of all that the optimizers update."""
        own = [id(getattr(module, name, None)) for module, name in self._homes]
        return own + [id(weight) for each in self.optimizers for group in each.param_groups
                      for weight in group["params"]]

    def changed(self) -> bool:
        """Whether a parameter was replaced, or an optimizer got or lost one."""
        return self._identities() != self._seen

    def follow(self) -> None:
        """Take the parameters and groups as they are now. Warns once of matrices that lost theirs."""
        before = self._free()
        self._stack()
        lost = [place for place in self._free() if place not in before]
        if lost and self.optimizers and not self.warned:
            self.warned = True
            warnings.warn(f"{self._names(lost)}: replaced while training (by load_state_dict(assign=True)?), "
                          "and no optimizer updates the new one: expected an optimizer made after that",
                          stacklevel=6)

    def _free(self) -> list[int]:
        """Places of matrices that should be trained and are updated by no optimizer."""
        return [place for stack in self.stacks if stack.param_group is None
                for place, weight in zip(stack.places, stack.weights, strict=True) if weight.requires_grad]

    def _names(self, places: Sequence[int]) -> str:
        return shown([self.pieces[place].parameter.name for place in sorted(places)])

    def warn(self, measure: Collection[str]) -> None:
        """Warns of matrices without an optimizer, and of a decay that cannot be told from the update."""
        free = self._free() if self.optimizers else []
        if free:
            warnings.warn(f"{self._names(free)}: updated by no optimizer that the tracker has: expected all "
                          "of those that train the model, as in Tracker(model, [muon, adamw])", stacklevel=4)
        for name in undecided(self.optimizers) if {UPDATES, BUDGET} & set(measure) else []:
            warnings.warn(f"weight decay of {name}: not known whether it is decoupled, so it stays in the "
                          "update: expected decoupled_weight_decay=True or False in its param groups",
                          stacklevel=4)


def stacked_like(stack: Stack, whole: Sequence[Tensor]) -> Tensor:
    """The rows of a stack that this process holds, [M, N], on its device, from those of whole matrices."""
    rows = [stack.part(row, values) for row, values in enumerate(whole)]
    return torch.stack(rows).to(stack.weights[0].device)
