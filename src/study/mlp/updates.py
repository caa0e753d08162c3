"""Optimizers over many MLPs at once, one learning rate for each model, with PyTorch's formulas.

`net.backward` calls one once per layer, and it changes the weights in place. The gradient of the mean loss
that it gets is multiplied by `scale` [M]. For SGD this is the learning rate, so that a step is one matrix
product that is accumulated into the weights.
"""

from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Tensor

from study.mlp.net import VECTOR, Mlps, accumulate


class Update(Protocol):
    """What the training loop calls of an optimizer."""

    scale: Tensor

    def begin(self) -> None:
        """Called before each step; does nothing unless an optimizer needs it."""

    def __call__(self, layer: int, delta: Tensor, inputs: Tensor) -> None:
        """Update one layer; see `net.backward`."""

    def keep(self, models: Tensor) -> None:
        """Keep only the models with these indices; `mlps` holds only those already."""


class SgdUpdate(Update):
    """w <- w - lr g."""

    def __init__(self, mlps: Mlps, lr: Tensor) -> None:
        self.mlps, self.scale = mlps, lr.to(mlps.dtype)

    def __call__(self, layer: int, delta: Tensor, inputs: Tensor) -> None:
        accumulate(self.mlps.weights[layer], delta, inputs, beta=1, alpha=-1)
        self.mlps.biases[layer].sub_(delta.sum(-1))

    def keep(self, models: Tensor) -> None:
        self.scale = self.scale[models]


class MomentumUpdate(Update):
    """v <- momentum v + lr g, w <- w - v. The learning rate may be a factor in v because it is constant."""

    def __init__(self, mlps: Mlps, lr: Tensor, momentum: float) -> None:
        self.mlps, self.scale, self.momentum = mlps, lr.to(mlps.dtype), momentum
        self.velocity = Mlps([*map(torch.zeros_like, mlps.weights)], [*map(torch.zeros_like, mlps.biases)])

    def __call__(self, layer: int, delta: Tensor, inputs: Tensor) -> None:
        weight, bias = self.velocity.weights[layer], self.velocity.biases[layer]
        self.mlps.weights[layer].sub_(accumulate(weight, delta, inputs, beta=self.momentum, alpha=1))
        self.mlps.biases[layer].sub_(bias.mul_(self.momentum).add_(delta.sum(-1)))

    def keep(self, models: Tensor) -> None:
        self.scale = self.scale[models]
        self.velocity.keep(models)


Layer = tuple[Tensor, Tensor]
"""A layer's weight [M, O, I] and padded bias [M, P], or their gradients, or their optimizer states."""


class AdamWUpdate(Update):
    """Adam with decoupled weight decay (arXiv 1711.05101), by torch's fused kernel.

    The kernel takes one learning rate, so it is called once for each run of consecutive models with the same
    one. It computes in vectors, and rounds the numbers after the last whole vector differently. Biases are
    padded to whole vectors, so that a model's values do not depend on its index; weights need no padding
    where O * I is a multiple of `VECTOR`.
    """

    def __init__(
        self, mlps: Mlps, lr: Tensor, beta1: float, beta2: float, eps: float, weight_decay: float
    ) -> None:
        self.mlps, self.lr = mlps, lr
        self.scale = torch.ones(len(lr), dtype=mlps.dtype)
        self.beta1, self.beta2, self.eps, self.weight_decay = beta1, beta2, eps, weight_decay
        self.steps = torch.zeros(())
        self.biases = [self._padded(bias) for bias in mlps.biases]
        layers = list(zip(mlps.weights, self.biases, strict=True))
        self.means, self.squares = ([_zeros_like(layer) for layer in layers] for _ in range(2))
        self._bind()

    def begin(self) -> None:
        self.steps += 1

    def __call__(self, layer: int, delta: Tensor, inputs: Tensor) -> None:
        weight, bias = self.gradients[layer]
        accumulate(weight, delta, inputs, beta=0, alpha=1)
        torch.sum(delta, -1, out=bias[:, : delta.shape[1]])
        counts = [self.steps, self.steps]
        for lr, (parameters, gradients, means, squares) in self.runs[layer]:
            torch._fused_adamw_(
                parameters, gradients, means, squares, [], counts, lr=lr, beta1=self.beta1, beta2=self.beta2,
                weight_decay=self.weight_decay, eps=self.eps, amsgrad=False, maximize=False,
            )  # fmt: skip

    def keep(self, models: Tensor) -> None:
        self.lr, self.scale = self.lr[models], self.scale[models]
        self.biases = [bias[models] for bias in self.biases]
        self.means, self.squares = (
            [(weight[models], bias[models]) for weight, bias in state] for state in (self.means, self.squares)
        )
        self._bind()

    def _padded(self, bias: Tensor) -> Tensor:
        return torch.nn.functional.pad(bias, (0, -bias.shape[1] % VECTOR))

    def _bind(self) -> None:
        """Make the models' biases views of the padded ones, and cut all into runs of one learning rate."""
        layers = list(zip(self.mlps.weights, self.biases, strict=True))
        self.mlps.biases = [bias[:, : weight.shape[1]] for weight, bias in layers]
        buffers: dict[tuple[int, ...], Tensor] = {}
        self.gradients: list[Layer] = [
            (buffers.setdefault(tuple(weight.shape), torch.empty_like(weight)), torch.zeros_like(bias))
            for weight, bias in layers
        ]
        states = zip(layers, self.gradients, self.means, self.squares, strict=True)
        self.runs = [
            [(lr, [[weight[run], bias[run]] for weight, bias in of_layer]) for lr, run in _runs(self.lr)]
            for of_layer in states
        ]


def _runs(lr: Tensor) -> list[tuple[float, slice]]:
    """Slices of consecutive models with the same learning rate."""
    runs, start = [], 0
    for value, models in groupby(lr.tolist()):
        end = start + len(list(models))
        runs.append((value, slice(start, end)))
        start = end
    return runs


def _zeros_like(layer: Layer) -> Layer:
    return torch.zeros_like(layer[0]), torch.zeros_like(layer[1])


UPDATES: dict[str, Any] = {"sgd": SgdUpdate, "momentum": MomentumUpdate, "adamw": AdamWUpdate}
