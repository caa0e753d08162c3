"""Set every parameter of a model by a recipe, matrix by matrix, and leave none out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.seeding import torch_seed
from variance_dynamics.base.terminal import aligned
from variance_dynamics.weights.laws import ANY, CONSTANT, Law, constant, law_of_scheme, sample
from variance_dynamics.weights.norms import norm_start
from variance_dynamics.weights.parameter import Parameter
from variance_dynamics.weights.pieces import Piece, as_pieces
from variance_dynamics.weights.schemes import scheme_named

if TYPE_CHECKING:
    from variance_dynamics.recipes.recipe import Recipe

COLUMNS = ("layer", "role", "tensor", "shape", "std", "drawn")


@dataclass(frozen=True)
class DrawnMatrix:
    """What one matrix was given: the std that the recipe gives it, and the std of the values drawn."""

    piece: Piece
    std: float
    drawn: float


@dataclass(frozen=True)
class Initialized:
    """What `initialize` set: matrices, and by name the vectors at 1, at 0, and by another law.

    `left` names the parameters that are as they were.
    """

    recipe: str
    rows: tuple[DrawnMatrix, ...]
    ones: tuple[str, ...]
    zeros: tuple[str, ...]
    others: tuple[str, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        table = aligned([COLUMNS, *map(_cells, self.rows)], words=("role", "tensor"))
        left = f"; left as they are: {', '.join(self.left)}" if self.left else ""
        others = f", {len(self.others)} by a rule of their own" if self.others else ""
        counts = f"{len(self.rows)} matrices, {len(self.ones)} vectors at 1, {len(self.zeros)} at 0{others}"
        return "\n".join([*table, f"{self.recipe}: {counts}{left}"])


@dataclass(frozen=True)
class Start:
    """What each matrix and each vector is drawn from, by a recipe of this name."""

    recipe: str
    matrices: Sequence[tuple[Piece, Law]]
    vectors: Mapping[str, Law] = field(default_factory=dict)


@torch.no_grad()
def initialize(model: nn.Module, recipe: "str | Path | Mapping[str, Any] | Recipe", seed: int = 0,
               std: float | None = None, patterns: Mapping[str, str] | None = None,
               config: Mapping[str, Any] | None = None,
               matrices: Sequence[Parameter | Piece] | None = None) -> Initialized:
    """Draw each matrix of `model` by `recipe`, and set norms and biases to their start.

    A recipe is a built-in one by its name, a mapping, or a .yaml file (see `recipes.recipe`). Fused q, k and
    v are drawn each as a matrix of its own, a convolution as [in * kernel, out]. `std` is what recipes
    without a std of their own use, and the std of embeddings under the others; by default it is the config's
    initializer_range, else the recipe's, else .02. Each matrix has its own random stream, named by the
    parameter: a seed gives the same normal draws under each recipe and std, on any device. Tied parameters
    are drawn once.

    Which parameters are matrices, and their roles, follow from their names. `patterns` maps regular
    expressions on names to roles; "ignore" leaves a parameter as it is. `config` gives head counts where the
    model has no Hugging Face config. With `matrices` no name is looked at: these are all the matrices, and
    the recipe is a scheme.

    Raises BadInput for an unknown recipe, and for a parameter that nothing sets, before anything is changed.

    >>> model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    >>> print(initialize(model, "kaiming", seed=0))
    layer  role     tensor     shape      std    drawn
        1  hidden   0.weight  128x64  0.17678  0.17534
        2  readout  2.weight  10x128  0.12500  0.12306
    kaiming: 2 matrices, 0 vectors at 1, 2 at 0
    """
    if std is not None and not 0 < std < math.inf:
        raise BadInput(f"std is {std}: expected a number above 0")
    if matrices is None:
        start = _by_recipe(model, recipe, std, patterns, config)
    else:
        start = _by_scheme(model, str(recipe), 0.02 if std is None else std, matrices)
    weights = dict(model.named_parameters())
    _check_memory(weights)
    rows = [DrawnMatrix(piece, law.std, _draw(weights, piece, law, seed))
            for piece, law in start.matrices if law.kind != ANY]
    _clear_padding(model)
    for name, law in start.vectors.items():
        _fill(weights[name], name, law, seed)
    return _report(start, rows, weights)


def _by_recipe(model: nn.Module, recipe: "str | Path | Mapping[str, Any] | Recipe", std: float | None,
               patterns: Mapping[str, str] | None, config: Mapping[str, Any] | None) -> Start:
    """By the roles that names say. Raises BadInput for a parameter that the recipe says nothing about."""
    # The study gives `matrices`. Imported here, an edit of a recipe does not train its GPT-2 again.
    from variance_dynamics.recipes.named import recipe_named
    from variance_dynamics.recipes.of_model import plan_of

    plan = plan_of(model, recipe_named(recipe), std, patterns, config)
    pieces, vectors = plan.described.roles.pieces, plan.described.roles.vectors
    return Start(plan.recipe.name, [(piece, plan.start_of_matrix(piece)) for piece in pieces],
                 {name: plan.start_of_vector(name) for name in vectors})


def _by_scheme(model: nn.Module, name: str, std: float, matrices: Sequence[Parameter | Piece]) -> Start:
    """By a scheme, for these matrices; all else must be norms and biases."""
    scheme = scheme_named(name)
    pieces = as_pieces(matrices, {other: tuple(weight.shape) for other, weight in model.named_parameters()})
    known = {piece.tensor for piece in pieces}
    others = [other for other, _ in model.named_parameters() if other not in known]
    vectors = _starts_of_vectors(model, others)
    laws = [law_of_scheme(scheme, piece.parameter, scheme.std(piece.parameter, std)) for piece in pieces]
    return Start(name, list(zip(pieces, laws, strict=True)), vectors)


def _starts_of_vectors(model: nn.Module, names: Sequence[str]) -> dict[str, Law]:
    """Norms' weights start where their class says, biases at 0. Raises BadInput for what is neither."""
    starts: dict[str, Law] = {}
    for name in names:
        path, _, last = name.rpartition(".")
        kind = type(model.get_submodule(path)).__name__
        if last.endswith("bias") or "bias_" in last:
            starts[name] = constant(0.0)
        elif last == "weight" and "norm" in kind.lower():
            starts[name] = constant(norm_start(name, kind))
        else:
            raise BadInput(f"{name}: parameter without a role: expected a bias or a norm's weight")
    return starts


def _check_memory(weights: Mapping[str, Tensor]) -> None:
    """Raises BadInput for parameters that cannot be written to in place."""
    for name, weight in weights.items():
        if hasattr(weight, "to_local"):
            raise BadInput(f"{name}: parameter is sharded: expected initialize before fully_shard")
        if weight.is_meta:
            raise BadInput(f"{name}: parameter holds no memory: expected model.to_empty(device=...) before")
        if not weight.is_contiguous():
            raise BadInput(f"{name}: strides are {weight.stride()}: expected a contiguous parameter")


def _draw(weights: Mapping[str, Tensor], piece: Piece, law: Law, seed: int) -> float:
    """Fill the piece's part of its tensor; gives the std of the values drawn (NaN if there are none)."""
    view = piece.inputs_first(weights[piece.tensor])
    values = drawn(piece.parameter.name, piece.size, law, seed)
    view.copy_(values.reshape(view.shape))
    return values.std(correction=0).item()


def drawn(name: str, shape: tuple[int, int], law: Law, seed: int) -> Tensor:
    """Weights of this shape, [fan_in, fan_out], by `law`, from the random stream named by the parameter."""
    generator = torch.Generator().manual_seed(torch_seed(seed, "init", name))
    return sample(law, torch.randn(*shape, generator=generator))


def _fill(weight: Tensor, name: str, law: Law, seed: int) -> None:
    """Set a vector, which the law "any" leaves as it is."""
    if law.kind == CONSTANT:
        weight.fill_(law.mean)
    elif law.kind != ANY:
        weight.copy_(drawn(name, (1, weight.numel()), law, seed).reshape(weight.shape))


def _report(start: Start, rows: Sequence[DrawnMatrix], weights: Mapping[str, Tensor]) -> Initialized:
    set_to = {name: law for name, law in start.vectors.items() if law.kind != ANY}
    ones, zeros = (tuple(name for name, law in set_to.items() if law == constant(value))
                   for value in (1.0, 0.0))
    others = tuple(name for name in set_to if name not in {*ones, *zeros})
    known = {*set_to, *(row.piece.tensor for row in rows)}
    left = tuple(name for name in weights if name not in known)
    return Initialized(start.recipe, tuple(rows), ones, zeros, others, left)


def _clear_padding(model: nn.Module) -> None:
    """The embedding of a padding token stays 0."""
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx].zero_()


def _cells(row: DrawnMatrix) -> tuple[str, ...]:
    parameter = row.piece.parameter
    shape = "x".join(map(str, row.piece.shape))
    return (str(parameter.layer), parameter.role, parameter.name, shape, f"{row.std:.5f}", f"{row.drawn:.5f}")
