"""Set every parameter of a module by an initialisation scheme, and leave none out."""

import torch
from torch import Tensor, nn

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.seeding import torch_seed
from variance_dynamics.weights.parameter import EMBEDDINGS, Parameter
from variance_dynamics.weights.schemes import SCHEMES, scaled_normal


@torch.no_grad()
def initialize(
    model: nn.Module, matrices: list[Parameter], scheme: str, std: float, seed: int
) -> dict[str, float]:
    """Draw `matrices` by `scheme`, set biases to 0 and norms to 1; gives each matrix's std by name.

    Every matrix has a stream of its own, named by the parameter, so that the same seed gives the same
    standard normal draws under each scheme and std, on any device.

    Raises BadInput for a parameter that nothing sets.
    """
    left = dict(model.named_parameters())
    stds = {}
    for parameter in matrices:
        weight = left.pop(parameter.name, None)
        if weight is None:
            raise BadInput(f"{parameter.name}: no such parameter: expected one of {', '.join(left)}")
        stds[parameter.name] = SCHEMES[scheme].std(parameter, std)
        weight.copy_(_laid_out(drawn(parameter, scheme, stds[parameter.name], seed), parameter, weight))
    for name in _set_vectors(model):
        left.pop(name, None)
    if left:
        raise BadInput(f"{next(iter(left))}: parameter without a role: expected one, so that it is set")
    return stds


def drawn(parameter: Parameter, scheme: str, std: float, seed: int) -> Tensor:
    """Weights [fan_in, fan_out] of a matrix by `scheme`, from the stream that its name has.

    Embeddings are normal under every scheme: a scheme's sampler is for layers that multiply.
    """
    generator = torch.Generator().manual_seed(torch_seed(seed, "init", parameter.name))
    z = torch.randn(parameter.fan_in, parameter.fan_out, generator=generator)
    sample = scaled_normal if parameter.role in EMBEDDINGS else SCHEMES[scheme].sample
    return sample(z, std)


def _laid_out(values: Tensor, parameter: Parameter, weight: Tensor) -> Tensor:
    """Draws lie as [fan_in, fan_out]; so does an embedding, while nn.Linear keeps [fan_out, fan_in]."""
    values = values if parameter.role in EMBEDDINGS else values.mT
    if values.shape != weight.shape:
        raise BadInput(f"{parameter.name}: shape is {tuple(weight.shape)}: expected {tuple(values.shape)}")
    return values


def _set_vectors(model: nn.Module) -> list[str]:
    """Norm weights to 1, biases of norms and of linear layers to 0; gives their names."""
    done = []
    for prefix, module in model.named_modules():
        vectors = {"bias": 0.0, "weight": 1.0} if isinstance(module, nn.LayerNorm) else {"bias": 0.0}
        for name, value in vectors.items():
            vector = getattr(module, name, None)
            if isinstance(module, nn.LayerNorm | nn.Linear) and isinstance(vector, nn.Parameter):
                vector.fill_(value)
                done.append(f"{prefix}.{name}" if prefix else name)
    return done
