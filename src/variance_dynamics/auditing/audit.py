"""From a checkpoint, a state dict or a live module to a report: measured, expected, verdict.

Needs numpy alone; torch where the input is torch's; PyYAML for a recipe in a file; tqdm, if installed, shows
progress.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variance_dynamics.auditing import judge
from variance_dynamics.auditing.checkpoint_files import open_checkpoint
from variance_dynamics.auditing.judge import AuditRow, VectorRow
from variance_dynamics.auditing.left_out import weights_left_out
from variance_dynamics.auditing.report import Audit, alarms_as_text
from variance_dynamics.auditing.sampling import z_score
from variance_dynamics.auditing.structure import structure
from variance_dynamics.auditing.tensors import Checkpoint, measure
from variance_dynamics.auditing.ties import ties_and_copies
from variance_dynamics.auditing.which_recipe import (
    AUTO,
    RecipeFit,
    candidates,
    described_fit,
    kind_of,
    recipes_that_fit,
    representative,
)
from variance_dynamics.base.errors import BadInput
from variance_dynamics.recipes.built_in import BUILT_IN
from variance_dynamics.recipes.named import recipe_named
from variance_dynamics.recipes.plan import Described, Plan
from variance_dynamics.recipes.recipe import Recipe
from variance_dynamics.roles.find_roles import find_roles
from variance_dynamics.weights.parameter import IN_BLOCK, TABLES, UNKNOWN
from variance_dynamics.weights.pieces import Piece

if TYPE_CHECKING:
    from torch import nn

Source = "str | Path | nn.Module | Mapping[str, Any]"
SHOW_PROGRESS_FROM = 3 * 10**8
"""Values; fewer are measured in a few seconds."""


@dataclass(frozen=True)
class Measured:
    """A model with the moments of all its parameters: a row per matrix in the order of a report."""

    checkpoint: Checkpoint
    described: Described
    rows: tuple[AuditRow, ...]
    vectors: tuple[VectorRow, ...]


@dataclass(frozen=True)
class Chosen:
    """A plan to judge by, why it is this one, and how well other recipes fit."""

    plan: Plan
    why: str
    fits: tuple[RecipeFit, ...] = ()


def audit(source: "str | Path | nn.Module | Mapping[str, Any]",
          recipe: str | Path | Mapping[str, Any] | Recipe = AUTO, std: float | None = None,
          trained: bool = False,
          patterns: Mapping[str, str] | None = None, heads: int | None = None) -> Audit:
    """Judge each parameter of a model at step 0.

    `source` is a file or a folder, a live module, a state dict, or what a training script saved around one.
    `recipe` is a built-in one by its name, a mapping, or a .yaml file (see `recipes.recipe`). "auto" is the
    one of the config's model_type, or else the built-in one for this kind of network that fits best. `std` is
    the recipe's std (default: the config's initializer_range, else the recipe's own, else .02). With
    `trained` nothing is judged. `patterns` maps regular expressions on names to roles; `heads` is the number
    of heads, for fused heads without a config. Raises BadInput where the input cannot be read, or nothing in
    it can be judged.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> report = audit({"0.weight": torch.zeros(8, 8), "1.weight": torch.randn(8, 8)}, "normal", std=1.0)
    >>> [(row.parameter.role, row.verdict) for row in report.rows]
    [('hidden', 'never initialised'), ('readout', 'as the recipe says')]
    """
    _check_options(std, heads)
    named = None if recipe == AUTO else recipe_named(recipe)
    model = measured(source, patterns, heads)
    left_out = () if trained else weights_left_out(model.checkpoint)
    report = Audit(model.checkpoint.source, model.rows, model.vectors, left_out=left_out,
                   notes=tuple(_absent(model)))
    if trained:
        return replace(report, broken=_broken(model))
    return _judged(report, model, named, std)


def assert_initialized(source: "str | Path | nn.Module | Mapping[str, Any]",
                       recipe: str | Path | Mapping[str, Any] | Recipe = AUTO, **options: Any) -> None:
    """Raises AssertionError, which names them, if parameters are off or a matrix cannot be judged.

    For a test suite; `recipe` and the options are those of `audit`.
    """
    report = audit(source, recipe, **options)
    if report.exit_code:
        raise AssertionError(alarms_as_text(report))


def _check_options(std: float | None, heads: int | None) -> None:
    if std is not None and not 0 < std < math.inf:
        raise BadInput(f"std is {std}: expected a number above 0")
    if heads is not None and heads < 1:
        raise BadInput(f"heads is {heads}: expected 1 or more")


def measured(source: "str | Path | nn.Module | Mapping[str, Any]", patterns: Mapping[str, str] | None = None,
             heads: int | None = None) -> Measured:
    """The moments of all parameters of `source`. Raises BadInput where it cannot be read."""
    checkpoint = _opened(source)
    config = {**checkpoint.config, **({"num_attention_heads": heads} if heads else {})}
    shapes = {name: stored.shape for name, stored in checkpoint.tensors.items()}
    roles = find_roles(shapes, config, patterns, checkpoint.types)
    rows = sorted(_rows(checkpoint, roles.pieces), key=_order)
    if not rows:
        raise BadInput(f"{checkpoint.source}: no weight matrix among {len(shapes)} tensors: expected a model")
    vectors = [_vector(checkpoint, name, roles.vector_roles.get(name, "other")) for name in roles.vectors
               if name not in checkpoint.tied]
    return Measured(checkpoint, Described(roles, shapes, config, checkpoint.types), tuple(rows),
                    tuple(vectors))


def _opened(source: Any) -> Checkpoint:
    if isinstance(source, str | Path):
        return open_checkpoint(source)
    _check_memory(source)
    from variance_dynamics.auditing.in_memory import from_memory

    return from_memory(source)


def _check_memory(source: Any) -> None:
    """Raises BadInput for a model on the meta device, which has shapes and no numbers."""
    parameters = getattr(source, "named_parameters", None)
    tensors = dict(parameters()) if parameters else source if isinstance(source, Mapping) else {}
    meta = [str(name) for name, tensor in tensors.items() if getattr(tensor, "is_meta", False)]
    if meta:
        raise BadInput(f"{meta[0]}: {len(meta)} of {len(tensors)} parameters are on the meta device and "
                       "hold no numbers: expected a model after to_empty(device=...) and its init")


def _rows(checkpoint: Checkpoint, pieces: Sequence[Piece]) -> Iterator[AuditRow]:
    for piece in _with_progress(pieces):
        stored = checkpoint.tensors[piece.tensor]
        raw, table = piece.of(stored.raw()), piece.parameter.role in TABLES
        moments = measure(raw, stored.dtype, skip_empty_rows=table and len(piece.shape) == 2)
        yield judge.measured(piece, moments, structure(raw, stored.dtype, moments))


def _vector(checkpoint: Checkpoint, name: str, role: str) -> VectorRow:
    stored = checkpoint.tensors[name]
    return VectorRow(name, role, measure(stored.raw(), stored.dtype))


def _with_progress(pieces: Sequence[Piece]) -> Iterable[Piece]:
    """The pieces, with a progress bar where measuring takes long and tqdm is installed."""
    if sum(math.prod(piece.shape) for piece in pieces) < SHOW_PROGRESS_FROM:
        return pieces
    try:
        from variance_dynamics.base.progress import progress
    except ImportError:
        return pieces
    shown: Iterable[Piece] = progress(pieces, desc="measure")
    return shown


def _order(row: AuditRow) -> tuple[bool, int, int]:
    """Embeddings, then block by block as the signal goes, then what follows the blocks."""
    role, inside = row.parameter.role, (*TABLES, *IN_BLOCK)
    after = role not in (*inside, UNKNOWN)
    return after, row.parameter.layer, inside.index(role) if role in inside else len(inside)


def _judged(report: Audit, model: Measured, named: Recipe | None, std: float | None) -> Audit:
    """The report with verdicts, by the recipe that is named, or the one that config or weights point to."""
    tied, copies = ties_and_copies(model.checkpoint, model.rows)
    own = [row for row in model.rows if row.piece.tensor not in tied and row.parameter.name not in copies]
    some = representative(own)
    chosen = _chosen(some, model.described, named, std)
    plan = chosen.plan
    _check_std(plan, std)
    drawn = sum(any(law.std for law in plan.of_vector(row.name)) for row in model.vectors)
    rows = judge.judged(model.rows, plan, tied, copies, drawn)
    z = z_score(judge.TESTS * (len(rows) + drawn))
    vectors = tuple(judge.judged_vector(row, plan, z) for row in model.vectors)
    report = replace(report, rows=tuple(rows), vectors=vectors, recipe=plan.recipe.name, chosen=chosen.why,
                     sigma=plan.std if plan.uses_std else None, fits=chosen.fits,
                     broken=tuple(row.name for row in vectors if row.moments.broken))
    _check_judged(report)
    return replace(report, notes=(*report.notes, *_doubts(report, some, model.described, chosen)))


def _chosen(rows: Sequence[AuditRow], described: Described, named: Recipe | None,
            std: float | None) -> Chosen:
    if named:
        return Chosen(Plan(named, described, described.std(named, std)), "as named")
    if described.family:
        family = described.family
        return Chosen(Plan(family, described, described.std(family, std)),
                      f"that of the config's model_type {described.config['model_type']}")
    fits = recipes_that_fit(rows, described, candidates(kind_of(described)), std)
    if not fits:
        return _nothing_fits(rows, described, std)
    best = recipe_named(fits[0].recipe)
    return Chosen(Plan(best, described, described.std(best, std)), "best fit", tuple(fits))


def _nothing_fits(rows: Sequence[AuditRow], described: Described, std: float | None) -> Chosen:
    """A model without a single finite weight matrix that is not constant is judged by the plainest recipe."""
    if any(row.moments.std > 0 and not row.moments.broken for row in rows):
        raise BadInput(f"std is {std}: no recipe for this kind of network uses one: expected a --recipe, "
                       f"or none")
    recipe = recipe_named("normal")
    return Chosen(Plan(recipe, described, described.std(recipe, std)), "no weights tell another")


def _check_std(plan: Plan, std: float | None) -> None:
    if std is not None and not plan.uses_std:
        raise BadInput(f"std is {std}: recipe {plan.recipe.name} uses none for these matrices: "
                       "expected it without --std")


def _check_judged(report: Audit) -> None:
    if all(row.verdict in (judge.UNJUDGED, judge.TIED) for row in report.rows):
        roles = ", ".join(sorted({row.parameter.role for row in report.rows}))
        raise BadInput(f"{report.source}: roles are {roles}: expected some that {report.recipe} is about")


def _broken(model: Measured) -> tuple[str, ...]:
    matrices = (row.parameter.name for row in model.rows if row.moments.broken)
    return (*matrices, *(row.name for row in model.vectors if row.moments.broken))


def _absent(model: Measured) -> Iterator[str]:
    """Notes on what was read, and on what the report does not hold."""
    checkpoint = model.checkpoint
    yield from checkpoint.notes
    for pattern in model.described.roles.unmatched:
        yield f"pattern {pattern!r} matches no parameter, so it gives no role"
    types = ", ".join(sorted(set(checkpoint.skipped.values())))
    if types:
        yield f"{len(checkpoint.skipped)} tensors of type {types} were left out"
    language_model = any("LM" in name for name in checkpoint.config.get("architectures") or ())
    headless = all(row.parameter.role != "readout" for row in model.rows)
    if language_model and headless and checkpoint.config.get("tie_word_embeddings", True):
        yield "the head is not in the file: it is tied to the embedding"


def _doubts(report: Audit, rows: Sequence[AuditRow], described: Described, chosen: Chosen) -> Iterator[str]:
    """Notes on what else the model may be."""
    for pattern in () if report.recipe in BUILT_IN else chosen.plan.unmatched:
        yield f"pattern {pattern!r} of recipe {report.recipe} matches no parameter"
    if report.alarms:
        yield from _nearest(report, rows, described)
    if any(row.role == "norm" and not row.moments.constant and 0.5 < row.moments.mean < 2
           for row in report.vectors):
        yield "norm weights differ from their initial values, so this model looks trained: see --trained"
    silent = [row.name for row in report.vectors if row.verdict == judge.UNJUDGED]
    if silent:
        yield f"{len(silent)} vectors are not judged: {report.recipe} has no rule for {silent[0]}"


def _nearest(report: Audit, rows: Sequence[AuditRow], described: Described) -> Iterator[str]:
    """The recipe that fits best, of all and with any std, where it fits more than the one judged by."""
    names = {row.parameter.name for row in rows}
    right = [row for row in report.rows if row.verdict in (judge.OK, judge.LEFT)]
    count = sum(row.parameter.name in names for row in right)
    fits = recipes_that_fit(rows, described, candidates())
    best = max(fits, key=lambda fit: (fit.fits, not fit.fitted), default=None)
    if best and best.fits > count:
        said = f"--recipe {best.recipe}" + (f" --std {best.sigma:.4g}" if best.fitted else "")
        if best.recipe == judge.DEFAULT:
            said += ", but in such a network it means that the init never ran"
        yield f"nearest recipe: {described_fit(best, len(rows))} ({said}, if you meant that)"
