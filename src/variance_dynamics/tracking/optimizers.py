"""What a tracker needs to know of optimizers: which parameters they update, and what their decay does."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from variance_dynamics.base.errors import BadInput

DECOUPLED = frozenset({
    "AdamW", "Muon", "Adafactor", "Lion", "StableAdamW", "MuonWithAuxAdam", "SingleDeviceMuon",
    "SingleDeviceMuonWithAuxAdam", "AdamW8bit", "PagedAdamW", "PagedAdamW8bit", "Lion8bit", "PagedLion",
    "PagedLion8bit"})
"""Classes whose step multiplies a weight by 1 - lr wd, beside the update."""
COUPLED = frozenset({"SGD", "Adam", "NAdam", "RAdam", "Adagrad", "Adadelta", "Adamax", "ASGD", "RMSprop",
                     "Rprop", "SparseAdam", "LBFGS"})
"""Classes that add wd W to the gradient: their decay is a part of the update."""
FLAGS = ("decoupled_weight_decay", "weight_decouple")
"""Names under which param groups say which of the two it is: torch's, and those of AdaBelief and its kin."""
MODE = "adam_w_mode"
"""The same as an attribute of the optimizer: Apex's FusedAdam, DeepSpeed's CPUAdam."""


def inner(optimizer: Any) -> Any:
    """The torch optimizer inside the wrappers of accelerate and Lightning."""
    while isinstance(getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = optimizer.optimizer
    return optimizer


def as_list(optimizer: Any) -> list[Optimizer]:
    """One optimizer, several or None as a list of torch optimizers. Raises BadInput for anything else."""
    if optimizer is None:
        return []
    given = list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer]
    optimizers = [inner(each) for each in given]
    for each in optimizers:
        if not isinstance(each, Optimizer):
            raise BadInput(f"optimizer is of type {type(each).__name__}: expected a torch optimizer, "
                           "or a list of those that train the model")
    if len({id(each) for each in optimizers}) < len(optimizers):
        raise BadInput("optimizer holds one optimizer twice: expected each of them once")
    return optimizers


def decoupled(optimizer: Optimizer, group: Mapping[str, Any]) -> bool | None:
    """Whether the decay is decoupled from the update; None where that is not known of the optimizer."""
    for flag in FLAGS:
        if flag in group:
            return bool(group[flag])
    if hasattr(optimizer, MODE):
        return bool(getattr(optimizer, MODE))
    names = {each.__name__ for each in type(optimizer).__mro__}
    return True if names & DECOUPLED else False if names & COUPLED else None


def learning_rate(group: Mapping[str, Any]) -> float | Tensor | None:
    """The group's lr; None where it has none, or leaves it to the optimizer."""
    lr = group.get("lr")
    return lr if isinstance(lr, int | float | Tensor) else None


def decay_rate(optimizer: Optimizer, group: Mapping[str, Any]) -> Any:
    """The group's decoupled weight decay: 0 where there is none, nan where decay is a part of the update."""
    rate = group.get("weight_decay") or 0.0
    return rate if not _some(rate) or decoupled(optimizer, group) else float("nan")


def _some(rate: Any) -> bool:
    return isinstance(rate, Tensor) or bool(rate)


def undecided(optimizers: Sequence[Optimizer]) -> list[str]:
    """Classes with a weight decay of which it is not known whether it is decoupled."""
    return [type(each).__name__ for each in optimizers
            if any(_some(group.get("weight_decay") or 0.0) and decoupled(each, group) is None
                   for group in each.param_groups)]


def owners(optimizers: Sequence[Optimizer]) -> dict[int, tuple[int, int]]:
    """id of a parameter -> (number of its optimizer, number of its param group)."""
    return {id(weight): (number, index) for number, optimizer in enumerate(optimizers)
            for index, group in enumerate(optimizer.param_groups) for weight in group["params"]}


def updated_tensors(model: nn.Module, optimizers: Sequence[Optimizer]) -> dict[int, nn.Parameter]:
    """id of a parameter of `model` -> the tensor that an optimizer updates in its place.

    That is its copy in float32, where the model is in half precision and the optimizer keeps such copies. A
    copy is known by its values.
    """
    own = {id(parameter) for parameter in model.parameters()}
    found: dict[int, nn.Parameter] = {}
    for optimizer in optimizers:
        tensors = [each for group in optimizer.param_groups for each in group["params"]]
        outside = [each for each in tensors if id(each) not in own]
        found |= _copied(model, outside, {id(each) for each in tensors} | found.keys())
    return found


def check_owned(model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
    """Raises BadInput for an optimizer that updates nothing of the model."""
    known = {id(parameter) for parameter in model.parameters()}
    known |= {id(copy) for copy in updated_tensors(model, optimizers).values()}
    for number, optimizer in enumerate(optimizers, start=1):
        ids = {id(each) for group in optimizer.param_groups for each in group["params"]}
        if ids and not ids & known:
            which = f" {number}" if len(optimizers) > 1 else ""
            raise BadInput(f"optimizer{which} ({type(optimizer).__name__}): none of its parameters is in the "
                           f"model {type(model).__name__}: expected the optimizer that trains this model")


def _copied(model: nn.Module, tensors: Sequence[nn.Parameter], taken: set[int]) -> dict[int, nn.Parameter]:
    copied: dict[int, nn.Parameter] = {}
    for tensor in tensors:
        for parameter in model.parameters():
            free = id(parameter) not in taken and id(parameter) not in copied
            if free and _is_copy(tensor, parameter):
                copied[id(parameter)] = tensor
                break
    return copied


def _is_copy(tensor: Tensor, parameter: Tensor) -> bool:
    alike = type(tensor) is type(parameter) and tensor.shape == parameter.shape
    wider = tensor.dtype.itemsize > parameter.dtype.itemsize
    return alike and wider and torch.equal(tensor.detach().to(parameter), parameter.detach())
