"""Set every parameter of anyone's model by a scheme, matrix by matrix, from the roles that names give."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from variance_dynamics.base.errors import BadInput
from variance_dynamics.init_matrices import drawn
from variance_dynamics.roles.find_roles import NetworkRoles
from variance_dynamics.roles.of_model import owners, roles_of
from variance_dynamics.weights.parameter import EMBEDDINGS
from variance_dynamics.weights.pieces import Piece
from variance_dynamics.weights.schemes import SCHEMES

COLUMNS = ("layer", "role", "tensor", "shape", "std", "drawn")
ZERO_CENTRED = ("Gemma", "Qwen3Next")
"""Families whose norms multiply by 1 + weight, so that the weight starts at 0."""


@dataclass(frozen=True)
class Row:
    """What one matrix was given: the std that the scheme says, and that of the values drawn."""

    piece: Piece
    std: float
    drawn: float


@dataclass(frozen=True)
class Initialized:
    """What `initialize` set: matrices, then vectors at 1 and at 0 by name; `left` were ignored by pattern."""

    scheme: str
    rows: tuple[Row, ...]
    ones: tuple[str, ...]
    zeros: tuple[str, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        cells = [COLUMNS, *map(_cells, self.rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
        table = [_aligned(line, widths) for line in cells]
        left = f"; left as they are: {', '.join(self.left)}" if self.left else ""
        counts = f"{len(self.rows)} matrices, {len(self.ones)} vectors at 1, {len(self.zeros)} at 0"
        return "\n".join([*table, f"{self.scheme}: {counts}{left}"])


@torch.no_grad()
def initialize(model: nn.Module, scheme: str, seed: int = 0, std: float = 0.02,
               patterns: Mapping[str, str] | None = None, config: Mapping[str, Any] | None = None
               ) -> Initialized:
    """Draw each matrix of `model` by `scheme`, an entry of SCHEMES; norms to 1, biases to 0.

    Fused q, k and v are drawn each as a matrix of its own, a convolution as [in * kernel, out]. `std` is what
    schemes with a std of their own use, and embeddings in the others. Each matrix has a stream of its own,
    named by the parameter: a seed gives the same draws under each scheme. `patterns` maps regular expressions
    on names to roles; "ignore" leaves a parameter as it is. `config` says head counts where the model has no
    Hugging Face config. Tied parameters are drawn once.

    Raises BadInput for an unknown scheme, and for a parameter that nothing sets, before anything is changed.

    >>> model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    >>> print(initialize(model, "kaiming", seed=0))
    layer  role     tensor     shape      std    drawn
        1  hidden   0.weight  128x64  0.17678  0.17534
        2  readout  2.weight  10x128  0.12500  0.12306
    kaiming: 2 matrices, 0 vectors at 1, 2 at 0
    """
    if scheme not in SCHEMES:
        near = get_close_matches(scheme, SCHEMES, 1) or list(SCHEMES)
        raise BadInput(f"scheme is {scheme!r}: expected {' or '.join(near)}")
    if not 0 < std < math.inf:
        raise BadInput(f"std is {std}: expected a number above 0")
    found = roles_of(model, patterns, config)
    weights = dict(model.named_parameters())
    vectors = _vectors(model)
    known = {piece.tensor for piece in found.pieces} | set(found.vectors)
    left = tuple(name for name in weights if name not in known)
    _check(found, vectors, weights)
    plan = [(piece, SCHEMES[scheme].std(_known(piece), std)) for piece in found.pieces]
    types = owners(model)
    rows = []
    for piece, sigma in plan:
        its = _draw(piece, weights[piece.tensor], types[piece.tensor], scheme, sigma, seed)
        rows.append(Row(piece, sigma, its))
    _clear_padding(model)
    for name in found.vectors:
        weights[name].fill_(vectors[name])
    ones, zeros = (tuple(name for name in found.vectors if vectors[name] == value) for value in (1.0, 0.0))
    return Initialized(scheme, tuple(rows), ones, zeros, left)


def _check(found: NetworkRoles, vectors: Mapping[str, float], weights: Mapping[str, Tensor]) -> None:
    for name in found.vectors:
        if name not in vectors:
            raise BadInput(f"{name}: parameter without a role: expected a bias or a norm's weight, "
                           "or patterns={regex: 'ignore'}")
    for name, weight in weights.items():
        if hasattr(weight, "to_local"):
            raise BadInput(f"{name}: parameter is sharded: expected initialize before fully_shard")
        if weight.is_meta:
            raise BadInput(f"{name}: parameter holds no memory: expected model.to_empty(device=...) before")
        if not weight.is_contiguous():
            raise BadInput(f"{name}: strides are {weight.stride()}: expected a contiguous parameter")


def _known(piece: Piece) -> Any:
    """The piece's parameter. Raises BadInput where its role is unknown, with what would settle it."""
    if piece.note:
        raise BadInput(f"{piece.parameter.name}: {piece.note}: expected patterns={{regex: role}} that does")
    return piece.parameter


def _draw(piece: Piece, weight: Tensor, owner: str, scheme: str, std: float, seed: int) -> float:
    """Fill the piece's part of `weight`; gives the std of what was drawn (NaN of nothing)."""
    view = piece.of(weight)
    embedding = piece.parameter.role in EMBEDDINGS and len(piece.shape) <= 3
    as_drawn = embedding or owner == "Conv1D"  # [fan_in, fan_out]
    fan_out = piece.shape[-1] if as_drawn else piece.shape[0]
    drawn_as = replace(piece.parameter, fan_in=view.numel() // max(1, fan_out), fan_out=fan_out)
    values = drawn(drawn_as, scheme, std, seed)
    view.copy_((values if as_drawn else values.mT).reshape(view.shape))
    return values.std(correction=0).item()


def _vectors(model: nn.Module) -> dict[str, float]:
    """Vector -> the value that it starts at: norms' weights 1, biases 0."""
    return {f"{prefix}.{name}".lstrip("."): value for prefix, module in model.named_modules()
            for name, value in _starts(module)}


def _starts(module: nn.Module) -> Iterator[tuple[str, float]]:
    kind = type(module).__name__
    for name, _ in module.named_parameters(recurse=False):
        if name.endswith("bias") or "bias_" in name:
            yield name, 0.0
        elif name == "weight" and "norm" in kind.lower():
            yield name, 0.0 if kind.startswith(ZERO_CENTRED) else 1.0


def _clear_padding(model: nn.Module) -> None:
    """The padding token's embedding stays 0."""
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx].zero_()


def _cells(row: Row) -> tuple[str, ...]:
    parameter = row.piece.parameter
    shape = "x".join(map(str, row.piece.shape))
    return (str(parameter.layer), parameter.role, parameter.name, shape, f"{row.std:.5f}", f"{row.drawn:.5f}")


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    """Words to the left, numbers to the right."""
    return "  ".join(cell.ljust(width) if name in ("role", "tensor") else cell.rjust(width)
                     for cell, width, name in zip(line, widths, COLUMNS, strict=True)).rstrip()
