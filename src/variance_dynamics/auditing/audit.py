"""From a checkpoint, a state dict or a live module to a report: measured, expected, verdict."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variance_dynamics.auditing import judge, recipes
from variance_dynamics.auditing.checkpoint_files import open_checkpoint
from variance_dynamics.auditing.judge import Row
from variance_dynamics.auditing.moments import Moments, measure
from variance_dynamics.auditing.recipes import AUTO, USUAL_STD, Fit
from variance_dynamics.auditing.sampling import z_score
from variance_dynamics.auditing.stored import Checkpoint
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.progress import progress
from variance_dynamics.roles.find_roles import UNKNOWN, Found, find_roles
from variance_dynamics.weights.parameter import BLOCK, EMBEDDINGS

if TYPE_CHECKING:
    from torch import Tensor, nn

SHOW_PROGRESS_FROM = 3 * 10**8
"""Values; fewer are measured in a few seconds."""
NORM = re.compile(r"(norm|(^|\.)ln)\w*\.weight$", re.IGNORECASE)
ENOUGH = 0.5
"""Share of the matrices that a recipe found by itself must fit."""


@dataclass(frozen=True)
class Audit:
    """A report: one row per matrix, in the order of the layers, and what was learnt of the whole.

    `recipe` is empty and `fits` too where only measured; `broken` names vectors with NaN or infinite values;
    `notes` are sentences for a person.
    """

    source: str
    rows: tuple[Row, ...]
    recipe: str = ""
    sigma: float = USUAL_STD
    fits: tuple[Fit, ...] = ()
    broken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def alarms(self) -> tuple[Row, ...]:
        """Rows that are off or were never initialised."""
        return tuple(row for row in self.rows if row.verdict in judge.ALARMS)

    @property
    def exit_code(self) -> int:
        """0 where nothing is off, else 1."""
        return int(bool(self.alarms) or (bool(self.recipe) and bool(self.broken)))


def audit(source: "str | Path | nn.Module | Mapping[str, Tensor]", recipe: str = AUTO,
          std: float | None = None, trained: bool = False, patterns: Mapping[str, str] | None = None,
          heads: int | None = None) -> Audit:
    """Judge each weight matrix at step 0 against a recipe: an entry of SCHEMES, or "auto" to find it.

    `std` is the recipe's own std (default: the config's initializer_range, else .02); with `trained`
    nothing is judged; `patterns` maps regular expressions to roles; `heads` helps with fused heads.
    Raises BadInput where the input cannot be read, or nothing in it can be judged.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> report = audit({"0.weight": torch.zeros(8, 8), "1.weight": torch.randn(8, 8)}, "normal", std=1.0)
    >>> [(row.parameter.role, row.verdict) for row in report.rows]
    [('hidden', 'never initialised'), ('readout', 'as the recipe says')]
    """
    _check_options(recipe, std, heads)
    checkpoint = _opened(source)
    config = {**checkpoint.config, **({"num_attention_heads": heads} if heads else {})}
    shapes = {name: stored.shape for name, stored in checkpoint.tensors.items()}
    found = find_roles(shapes, config, patterns, checkpoint.types)
    rows, vectors = _measured(checkpoint, found)
    if not rows:
        raise BadInput(f"{checkpoint.source}: no weight matrix among {len(shapes)} tensors: expected a model")
    broken = tuple(name for name, moments in vectors.items() if moments.broken)
    report = Audit(checkpoint.source, tuple(rows), broken=broken, notes=tuple(_absent(checkpoint, rows)))
    if trained:
        return report
    report = _judged(report, recipe, std or _config_std(config), _all_ties(checkpoint, rows))
    return replace(report, notes=(*report.notes, *_doubts(vectors, report.recipe)))


def _check_options(recipe: str, std: float | None, heads: int | None) -> None:
    recipes.check_recipe(recipe)
    if std is not None and not 0 < std < math.inf:
        raise BadInput(f"std is {std}: expected a number above 0")
    if heads is not None and heads < 1:
        raise BadInput(f"heads is {heads}: expected 1 or more")


def _opened(source: Any) -> Checkpoint:
    if isinstance(source, str | Path):
        return open_checkpoint(source)
    from variance_dynamics.auditing.torch_file import from_memory

    return from_memory(source)


def _config_std(config: Mapping[str, Any]) -> float:
    value = config.get("initializer_range")
    return float(value) if isinstance(value, int | float) and value > 0 else USUAL_STD


def _measured(checkpoint: Checkpoint, found: Found) -> tuple[list[Row], dict[str, Moments]]:
    tensors = checkpoint.tensors
    total = sum(math.prod(piece.shape) for piece in found.pieces)
    rows = []
    for piece in progress(found.pieces, desc="measure", disable=total < SHOW_PROGRESS_FROM):
        stored, embedding = tensors[piece.tensor], piece.parameter.role in EMBEDDINGS
        rows.append(judge.measured(piece, measure(piece.of(stored.raw()), stored.dtype, embedding)))
    vectors = {name: measure(tensors[name].raw(), tensors[name].dtype) for name in found.vectors}
    return sorted(rows, key=_order), vectors


def _order(row: Row) -> tuple[bool, int, int]:
    """Embeddings, then block by block as the signal goes, then what follows the blocks."""
    role, inside = row.parameter.role, (*EMBEDDINGS, *BLOCK)
    after = role not in (*inside, UNKNOWN)
    return after, row.parameter.layer, inside.index(role) if role in inside else len(inside)


def _all_ties(checkpoint: Checkpoint, rows: list[Row]) -> dict[str, str]:
    """Tensors in the same memory; and copies, which have the same moments to the last bit."""
    ties = dict(checkpoint.tied)
    owners: dict[Any, str] = {}
    for row in rows:
        if not row.moments.constant and row.piece.cut is None and row.piece.tensor not in ties:
            owner = owners.setdefault((row.moments, row.piece.shape), row.piece.tensor)
            if owner != row.piece.tensor:
                ties[row.piece.tensor] = owner
    return ties


def _judged(report: Audit, recipe: str, sigma: float, ties: Mapping[str, str]) -> Audit:
    own = [row for row in report.rows if row.piece.tensor not in ties]
    fits = tuple(recipes.fits(own, sigma)) if recipe == AUTO else ()
    if fits:
        recipe, sigma = fits[0].recipe, fits[0].sigma
        _check_fit(report.source, own, fits[0])
    rows = judge.judged(list(report.rows), recipe, sigma, ties)
    if all(row.verdict in (judge.UNJUDGED, judge.TIED) for row in rows):
        roles = ", ".join(sorted({row.parameter.role for row in rows}))
        raise BadInput(f"{report.source}: roles are {roles}: expected some that {recipe} is about")
    return replace(report, rows=tuple(rows), recipe=recipe, sigma=sigma, fits=fits)


def _check_fit(source: str, rows: list[Row], fit: Fit) -> None:
    z = z_score(judge.TESTS * len(rows))
    expected = [(row, judge.accepted(fit.recipe, row.parameter, fit.sigma)) for row in rows]
    judgeable = [(row, allowed) for row, allowed in expected if allowed and row.moments.std > 0]
    fitting = sum(any(judge.within(row, std, z) for std in allowed) for row, allowed in judgeable)
    if judgeable and fitting < ENOUGH * len(judgeable):
        raise BadInput(f"{source}: no recipe fits (the nearest, {fit.recipe}, {fitting} of {len(judgeable)} "
                       "matrices): expected a model at step 0; name its --recipe, or measure with --trained")


def _absent(checkpoint: Checkpoint, rows: list[Row]) -> Iterator[str]:
    types = ", ".join(sorted(set(checkpoint.skipped.values())))
    if types:
        yield f"{len(checkpoint.skipped)} tensors of type {types} were left out"
    language_model = any("LM" in name for name in checkpoint.config.get("architectures") or ())
    headless = all(row.parameter.role != "readout" for row in rows)
    if language_model and headless and checkpoint.config.get("tie_word_embeddings", True):
        yield "the head is not in the file: it is tied to the embedding"


def _doubts(vectors: Mapping[str, Moments], recipe: str) -> Iterator[str]:
    biases = [name for name, moments in vectors.items() if name.endswith("bias") and moments.absmax > 0]
    if biases and recipe != "torch_default":
        yield f"{len(biases)} biases are not 0 (PyTorch's default draws them), first {biases[0]}"
    if any(NORM.search(name) and not moments.constant for name, moments in vectors.items()):
        yield "norm scales have left their start, so this model looks trained: see --trained"
