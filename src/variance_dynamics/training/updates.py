"""Optimizers over many MLPs at once, one learning rate per model, with PyTorch's formulas.

Each is called by `models.mlp.backward` once per layer and changes the weights in place. The gradient of the
mean loss reaches it multiplied by `scale` [M]: SGD takes the learning rate in there, so that a step is one
matrix product accumulated into the weights.
"""

from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Tensor

from variance_dynamics.models.mlp import Mlps, accumulate


class Update(Protocol):
    """What the training loop needs of an optimizer."""

    scale: Tensor

    def begin(self) -> None:
        """Called before each step."""

    def __call__(self, layer: int, delta: Tensor, inputs: Tensor) -> None:
        """Update one layer; see `models.mlp.backward`."""

    def keep(self, models: Tensor) -> None:
        """Go on with the models of these indices; `mlps` has been reduced already."""


class Sgd:
    """w <- w - lr g."""

    def __init__(self, mlps: Mlps, lr: Tensor) -> None:
        self.mlps, self.scale = mlps, lr.float()

    def begin(self) -> None:
        pass

    def __call__(self, layer: int, delta: Tensor, inputs: Tensor) -> None:
        accumulate(self.mlps.weights[layer], delta, inputs, beta=1, alpha=-1)
        self.mlps.biases[layer].sub_(delta.sum(-1))

    def keep(self, models: Tensor) -> None:
        self.scale = self.scale[models]


class Momentum:
    """v <- momentum v + lr g, w <- w - v (the learning rate is constant, so it may stand inside v)."""

    def __init__(self, mlps: Mlps, lr: Tensor, momentum: float) -> None:
        self.mlps, self.scale, self.momentum = mlps, lr.float(), momentum
        self.velocity = _zeros_like(mlps)

    def begin(self) -> None:
        pass

    def __call__(self, layer: int, delta: Tensor, inputs: Tensor) -> None:
        weight, bias = self.velocity.weights[layer], self.velocity.biases[layer]
        self.mlps.weights[layer].sub_(accumulate(weight, delta, inputs, beta=self.momentum, alpha=1))
        self.mlps.biases[layer].sub_(bias.mul_(self.momentum).add_(delta.sum(-1)))

    def keep(self, models: Tensor) -> None:
        self.scale = self.scale[models]
        self.velocity.keep(models)


class AdamW:
    """Adam with decoupled weight decay (arXiv 1711.05101), torch's fused kernel.

    The kernel takes one learning rate, so it is called once for each run of models with the same one.
    """

    def __init__(
        self, mlps: Mlps, lr: Tensor, beta1: float, beta2: float, eps: float, weight_decay: float
    ) -> None:
        self.mlps, self.lr, self.scale = mlps, lr, torch.ones(len(lr))
        self.beta1, self.beta2, self.eps, self.weight_decay = beta1, beta2, eps, weight_decay
        self.mean, self.square = _zeros_like(mlps), _zeros_like(mlps)
        self.steps = torch.zeros(())
        self._slice()

    def begin(self) -> None:
        self.steps += 1

    def __call__(self, layer: int, delta: Tensor, inputs: Tensor) -> None:
        accumulate(self.gradient.weights[layer], delta, inputs, beta=0, alpha=1)
        torch.sum(delta, -1, out=self.gradient.biases[layer])
        counts = [self.steps, self.steps]
        for lr, (parameters, gradients, means, squares) in self.runs[layer]:
            torch._fused_adamw_(
                parameters, gradients, means, squares, [], counts, lr=lr, beta1=self.beta1, beta2=self.beta2,
                weight_decay=self.weight_decay, eps=self.eps, amsgrad=False, maximize=False,
            )

    def keep(self, models: Tensor) -> None:
        self.lr, self.scale = self.lr[models], self.scale[models]
        self.mean.keep(models)
        self.square.keep(models)
        self._slice()

    def _slice(self) -> None:
        """For each layer, a list of (lr, [parameters, gradients, means, squares]) over runs of one lr."""
        buffers: dict[tuple[int, ...], Tensor] = {}
        shared = [buffers.setdefault(tuple(w.shape), torch.empty_like(w)) for w in self.mlps.weights]
        self.gradient = Mlps(shared, [torch.empty_like(bias) for bias in self.mlps.biases])
        states = [self.mlps, self.gradient, self.mean, self.square]
        self.runs: list[list[tuple[float, list[list[Tensor]]]]] = [
            [
                (lr, [[state.weights[layer][models], state.biases[layer][models]] for state in states])
                for lr, models in _runs(self.lr)
            ]
            for layer in range(len(shared))
        ]


def _runs(lr: Tensor) -> list[tuple[float, slice]]:
    """Slices of consecutive models with the same learning rate."""
    runs, start = [], 0
    for value, models in groupby(lr.tolist()):
        end = start + len(list(models))
        runs.append((value, slice(start, end)))
        start = end
    return runs


def _zeros_like(mlps: Mlps) -> Mlps:
    return Mlps([torch.zeros_like(w) for w in mlps.weights], [torch.zeros_like(b) for b in mlps.biases])


UPDATES: dict[str, Any] = {"sgd": Sgd, "momentum": Momentum, "adamw": AdamW}
