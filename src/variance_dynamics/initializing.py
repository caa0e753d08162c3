"""Set every parameter of a model by an initialisation scheme, matrix by matrix, and leave none out."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.seeding import torch_seed
from variance_dynamics.base.terminal import aligned
from variance_dynamics.weights.parameter import EMBEDDINGS, Parameter
from variance_dynamics.weights.pieces import Piece, as_pieces
from variance_dynamics.weights.schemes import Scheme, scaled_normal, scheme_named

COLUMNS = ("layer", "role", "tensor", "shape", "std", "drawn")
ZERO_CENTRED = ("Gemma", "Qwen3Next")
"""Families whose norms multiply by 1 + weight, so that the weight starts at 0."""


@dataclass(frozen=True)
class DrawnMatrix:
    """What one matrix was given: the std that the scheme gives it, and the std of the values drawn."""

    piece: Piece
    std: float
    drawn: float


@dataclass(frozen=True)
class Initialized:
    """What `initialize` set: matrices, and by name the vectors at 1 and at 0; `left` are the ignored ones."""

    scheme: str
    rows: tuple[DrawnMatrix, ...]
    ones: tuple[str, ...]
    zeros: tuple[str, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        table = aligned([COLUMNS, *map(_cells, self.rows)], words=("role", "tensor"))
        left = f"; left as they are: {', '.join(self.left)}" if self.left else ""
        counts = f"{len(self.rows)} matrices, {len(self.ones)} vectors at 1, {len(self.zeros)} at 0"
        return "\n".join([*table, f"{self.scheme}: {counts}{left}"])


@torch.no_grad()
def initialize(model: nn.Module, scheme: str, seed: int = 0, std: float = 0.02,
               patterns: Mapping[str, str] | None = None, config: Mapping[str, Any] | None = None,
               matrices: Sequence[Parameter | Piece] | None = None) -> Initialized:
    """Draw each matrix of `model` by `scheme`, an entry of SCHEMES; set norms to 1 and biases to 0.

    Fused q, k and v are drawn each as a matrix of its own, a convolution as [in * kernel, out]. `std` is what
    schemes without a std of their own use, and the std of embeddings under the others. Each matrix has its
    own random stream, named by the parameter: a seed gives the same normal draws under each scheme and std,
    on any device. Tied parameters are drawn once.

    Which parameters are matrices, and their roles, follow from their names. `patterns` maps regular
    expressions on names to roles; "ignore" leaves a parameter as it is. `config` gives head counts where the
    model has no Hugging Face config. With `matrices` no name is looked at: these are all the matrices.

    Raises BadInput for an unknown scheme, and for a parameter that nothing sets, before anything is changed.

    >>> model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    >>> print(initialize(model, "kaiming", seed=0))
    layer  role     tensor     shape      std    drawn
        1  hidden   0.weight  128x64  0.17678  0.17534
        2  readout  2.weight  10x128  0.12500  0.12306
    kaiming: 2 matrices, 0 vectors at 1, 2 at 0
    """
    chosen = scheme_named(scheme)
    if not 0 < std < math.inf:
        raise BadInput(f"std is {std}: expected a number above 0")
    weights = dict(model.named_parameters())
    if matrices is None:
        pieces, others = _by_name(model, patterns, config)
    else:
        pieces = as_pieces(matrices, {name: tuple(weight.shape) for name, weight in weights.items()})
        tensors = {piece.tensor for piece in pieces}
        others = [name for name in weights if name not in tensors]
    starts = _starting_values(model, others)
    _check_memory(weights)
    stds = [chosen.std(_checked(piece), std) for piece in pieces]
    rows = [DrawnMatrix(piece, sigma, _draw(model, piece, chosen, sigma, seed))
            for piece, sigma in zip(pieces, stds, strict=True)]
    _clear_padding(model)
    for name, value in starts.items():
        weights[name].fill_(value)
    ones, zeros = (tuple(name for name in starts if starts[name] == value) for value in (1.0, 0.0))
    known = {*starts, *(piece.tensor for piece in pieces)}
    left = tuple(name for name in weights if name not in known)
    return Initialized(scheme, tuple(rows), ones, zeros, left)


def _by_name(model: nn.Module, patterns: Mapping[str, str] | None, config: Mapping[str, Any] | None
             ) -> tuple[Sequence[Piece], Sequence[str]]:
    """The matrices, and the names of the vectors, by what the parameters' names say."""
    # The study gives `matrices`. Imported here, an edit of the name patterns does not train its GPT-2 again.
    from variance_dynamics.roles.of_model import roles_of

    roles = roles_of(model, patterns, config)
    return roles.pieces, roles.vectors


def _starting_values(model: nn.Module, names: Sequence[str]) -> dict[str, float]:
    """Value at which each of these parameters starts. Raises BadInput for one that is no norm and no bias."""
    known = {f"{prefix}.{name}".lstrip("."): value for prefix, module in model.named_modules()
             for name, value in _values_of(module)}
    for name in names:
        if name not in known:
            raise BadInput(f"{name}: parameter without a role: expected a bias or a norm's weight, "
                           "or patterns={regex: 'ignore'}")
    return {name: known[name] for name in names}


def _values_of(module: nn.Module) -> Iterator[tuple[str, float]]:
    """Norms' weights start at 1, biases at 0."""
    kind = type(module).__name__
    for name, _ in module.named_parameters(recurse=False):
        if name.endswith("bias") or "bias_" in name:
            yield name, 0.0
        elif name == "weight" and "norm" in kind.lower():
            yield name, 0.0 if kind.startswith(ZERO_CENTRED) else 1.0


def _check_memory(weights: Mapping[str, Tensor]) -> None:
    """Raises BadInput for parameters that cannot be written to in place."""
    for name, weight in weights.items():
        if hasattr(weight, "to_local"):
            raise BadInput(f"{name}: parameter is sharded: expected initialize before fully_shard")
        if weight.is_meta:
            raise BadInput(f"{name}: parameter holds no memory: expected model.to_empty(device=...) before")
        if not weight.is_contiguous():
            raise BadInput(f"{name}: strides are {weight.stride()}: expected a contiguous parameter")


def _checked(piece: Piece) -> Parameter:
    """The piece's parameter. Raises BadInput where its role is unknown, with the pattern that would help."""
    if piece.note:
        raise BadInput(f"{piece.parameter.name}: {piece.note}: expected patterns={{regex: role}} that does")
    return piece.parameter


def _draw(model: nn.Module, piece: Piece, scheme: Scheme, std: float, seed: int) -> float:
    """Fill the piece's part of its tensor; gives the std of the values drawn (NaN if there are none)."""
    view = piece.of(model.get_parameter(piece.tensor))
    embedding = piece.parameter.role in EMBEDDINGS and len(piece.shape) <= 3
    owner = model.get_submodule(piece.tensor.rpartition(".")[0])
    as_drawn = embedding or type(owner).__name__ == "Conv1D"  # stored as [fan_in, fan_out]
    fan_out = piece.shape[-1] if as_drawn else piece.shape[0]
    fan_in = view.numel() // max(1, fan_out)
    values = drawn(replace(piece.parameter, fan_in=fan_in, fan_out=fan_out), scheme, std, seed)
    view.copy_((values if as_drawn else values.mT).reshape(view.shape))
    return values.std(correction=0).item()


def drawn(parameter: Parameter, scheme: Scheme, std: float, seed: int) -> Tensor:
    """Weights [fan_in, fan_out] of a matrix by `scheme`, from the random stream named by the parameter.

    Embeddings are normal under every scheme, because a scheme's sampler is for layers that multiply.
    """
    generator = torch.Generator().manual_seed(torch_seed(seed, "init", parameter.name))
    z = torch.randn(parameter.fan_in, parameter.fan_out, generator=generator)
    sample = scaled_normal if parameter.role in EMBEDDINGS else scheme.sample
    return sample(z, std)


def _clear_padding(model: nn.Module) -> None:
    """The embedding of a padding token stays 0."""
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx].zero_()


def _cells(row: DrawnMatrix) -> tuple[str, ...]:
    parameter = row.piece.parameter
    shape = "x".join(map(str, row.piece.shape))
    return (str(parameter.layer), parameter.role, parameter.name, shape, f"{row.std:.5f}", f"{row.drawn:.5f}")
