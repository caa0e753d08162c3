"""Many ReLU MLPs of one shape as one tensor program: a leading model axis, batched products, manual backward.

Letters: M models, L weight layers, I and O a layer's fan-in and fan-out, K classes, B samples. Samples are
the last axis, so that the first layer of all models, which have the same minibatch, is one plain matrix
product ([M*O, I] @ [I, B]), and a bias is added along rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from variance_dynamics.weights.parameter import Parameter

VECTOR = 16
"""How many float32 numbers the widest vector of a CPU holds."""


def matrices(features: int, width: int, depth: int, classes: int) -> list[Parameter]:
    """The weight matrices of an MLP of `depth` weight layers, first to last; the last one is the readout."""
    sizes = [features, *[width] * (depth - 1), classes]
    return [
        Parameter(f"layer_{layer}", "readout" if layer == depth else "hidden", layer, depth, fan_in, fan_out)
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1)
    ]


@dataclass
class Mlps:
    """M models: `weights[l]` [M, O, I] and `biases[l]` [M, O] of weight layer l, all contiguous."""

    weights: list[Tensor]
    biases: list[Tensor]

    def __len__(self) -> int:
        return len(self.biases[0])

    @property
    def dtype(self) -> torch.dtype:
        return self.biases[0].dtype

    def keep(self, models: Tensor) -> None:
        """Keep only the models with these indices."""
        self.weights = [weight[models] for weight in self.weights]
        self.biases = [bias[models] for bias in self.biases]

    def double(self) -> "Mlps":
        """A copy in float64."""
        return Mlps([weight.double() for weight in self.weights], [bias.double() for bias in self.biases])


class Workspace:
    """Buffers of one training step for M models and B samples.

    `outputs[l]` [M, O, B] is the output of layer l after ReLU, or the logits for the last layer. `deltas[l]`
    is the gradient of the loss in the layer's pre-activations. Deltas of every second layer share memory.
    """

    def __init__(self, mlps: Mlps, samples: int) -> None:
        models, fan_outs = len(mlps), [weight.shape[1] for weight in mlps.weights]
        dtype = mlps.dtype
        self.outputs = [torch.empty(models, fan_out, samples, dtype=dtype) for fan_out in fan_outs]
        flat = [torch.empty(models * max(fan_outs) * samples, dtype=dtype) for _ in range(2)]
        self.deltas = [
            flat[layer % 2][: models * fan_out * samples].view(models, fan_out, samples)
            for layer, fan_out in enumerate(fan_outs)
        ]


def product(weight: Tensor, inputs: Tensor, out: Tensor | None = None) -> Tensor:
    """weight [M, O, I] @ inputs [M, I, B] -> [M, O, B]; inputs [I, B] are shared by all models."""
    if inputs.dim() == 3:
        return torch.bmm(weight, inputs, out=out)
    models, fan_out, fan_in = weight.shape
    flat = None if out is None else out.view(models * fan_out, -1)
    return torch.mm(weight.view(-1, fan_in), inputs, out=flat).view(models, fan_out, -1)


def accumulate(total: Tensor, delta: Tensor, inputs: Tensor, beta: float, alpha: float) -> Tensor:
    """total [M, O, I] <- beta total + alpha delta [M, O, B] @ inputs^T; inputs [M, I, B] or shared [I, B]."""
    if inputs.dim() == 3:
        return total.baddbmm_(delta, inputs.mT, beta=beta, alpha=alpha)
    models, fan_out, fan_in = total.shape
    total.view(-1, fan_in).addmm_(delta.view(models * fan_out, -1), inputs.mT, beta=beta, alpha=alpha)
    return total


def forward(mlps: Mlps, inputs: Tensor, work: Workspace) -> Tensor:
    """Logits [M, K, B] of a minibatch `inputs` [I, B]; the output of every layer stays in `work`."""
    for weight, bias, out in zip(mlps.weights, mlps.biases, work.outputs, strict=True):
        product(weight, inputs, out).add_(bias.unsqueeze(-1))
        if out is not work.outputs[-1]:
            torch.relu_(out)
        inputs = out
    return inputs


def cross_entropy(logits: Tensor, one_hot: Tensor, scale: Tensor, delta: Tensor) -> Tensor:
    """Mean softmax cross-entropy [M] of logits [M, K, B] against `one_hot` [K, B].

    Writes to `delta` the gradient, in the logits, of the sum of losses over samples, times `scale` [M, 1, 1].
    """
    log_p = torch.log_softmax(logits, dim=1)
    torch.exp(log_p, out=delta).sub_(one_hot).mul_(scale)
    return log_p.mul_(one_hot).flatten(1).sum(1).div_(-logits.shape[-1])


LayerUpdate = Callable[[int, Tensor, Tensor], None]


def backward(mlps: Mlps, inputs: Tensor, work: Workspace, update: LayerUpdate) -> None:
    """Call `update(layer, delta [M, O, B], layer's inputs)` for each layer, the last first.

    The gradient in a weight is delta @ inputs^T, and in a bias the sum of delta over samples.
    `work.deltas[-1]` must hold the gradient in the logits. The delta of the layer below is computed before a
    layer's update, which may therefore change the weights in place.
    """
    for layer in reversed(range(len(mlps.weights))):
        delta = work.deltas[layer]
        if layer == 0:
            update(0, delta, inputs)
            return
        below, passed = work.outputs[layer - 1], work.deltas[layer - 1]
        torch.bmm(mlps.weights[layer].mT, delta, out=passed)
        update(layer, delta, below)
        torch.ops.aten.threshold_backward.grad_input(passed, below, 0, grad_input=passed)


def log_probabilities(mlps: Mlps, x: Tensor, block: int = 512) -> Tensor:
    """Log-probabilities [M, K, n] of the classes of all rows of `x` [n, I], `block` rows at a time.

    Rows are padded to whole vectors: the last bits of a part of a vector would depend on a model's index.
    """
    padded = functional.pad(x, (0, 0, 0, -len(x) % VECTOR))
    logits = [list(_preactivations(mlps, rows.mT))[-1] for rows in torch.split(padded, block)]
    return torch.cat([each.log_softmax(1) for each in logits], dim=-1)[..., : len(x)]


def second_moments(mlps: Mlps, x: Tensor) -> Tensor:
    """Mean square [L, M], in float64, of each layer's pre-activations over units and rows of `x` [n, I]."""
    layers = _preactivations(mlps.double(), x.double().mT)
    return torch.stack([torch.linalg.vector_norm(z, dim=(1, 2)).square() / z[0].numel() for z in layers])


def _preactivations(mlps: Mlps, inputs: Tensor) -> Iterator[Tensor]:
    """Pre-activations [M, O, B] of each layer; the next layer's computation overwrites them."""
    z = None
    for weight, bias in zip(mlps.weights, mlps.biases, strict=True):
        z = product(weight, inputs if z is None else z.relu_()).add_(bias.unsqueeze(-1))
        yield z
