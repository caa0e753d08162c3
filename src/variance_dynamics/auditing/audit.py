"""From a checkpoint, a state dict or a live module to a report: measured, expected, verdict.

Needs numpy alone; torch where the input is torch's; tqdm, if installed, shows progress.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variance_dynamics.auditing import judge
from variance_dynamics.auditing.checkpoint_files import open_checkpoint
from variance_dynamics.auditing.judge import AuditRow
from variance_dynamics.auditing.sampling import z_score
from variance_dynamics.auditing.tensors import Checkpoint, Moments, measure
from variance_dynamics.auditing.which_scheme import AUTO, USUAL_STD, SchemeFit, schemes_that_fit
from variance_dynamics.base.errors import BadInput, check_name
from variance_dynamics.roles.find_roles import UNKNOWN, NetworkRoles, find_roles
from variance_dynamics.weights.parameter import BLOCK, EMBEDDINGS
from variance_dynamics.weights.pieces import Piece
from variance_dynamics.weights.schemes import OTHER_NAMES, SCHEMES

if TYPE_CHECKING:
    from torch import nn

SHOW_PROGRESS_FROM = 3 * 10**8
"""Values; fewer are measured in a few seconds."""
NORM = re.compile(r"(norm|(^|\.)ln)\w*\.weight$", re.IGNORECASE)
ENOUGH = 0.5
"""Share of the matrices that must fit the scheme which fits best, where none was named."""


@dataclass(frozen=True)
class Audit:
    """A report: one row per matrix, in the order of the layers, and what is known of the whole model.

    `recipe` is the scheme's name and `sigma` its std param; both it and `fits` are empty where nothing was
    judged. `broken` names vectors with NaN or infinite values, and matrices too where nothing was judged;
    `notes` are sentences for a person.
    """

    source: str
    rows: tuple[AuditRow, ...]
    recipe: str = ""
    sigma: float = USUAL_STD
    fits: tuple[SchemeFit, ...] = ()
    broken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def alarms(self) -> tuple[AuditRow, ...]:
        """Rows whose matrix is off or was never initialised."""
        return tuple(row for row in self.rows if row.verdict in judge.ALARMS)

    @property
    def exit_code(self) -> int:
        """0 where nothing is off, else 1."""
        return int(bool(self.alarms) or bool(self.broken))


def audit(source: "str | Path | nn.Module | Mapping[str, Any]", recipe: str = AUTO,
          std: float | None = None, trained: bool = False, patterns: Mapping[str, str] | None = None,
          heads: int | None = None) -> Audit:
    """Judge each weight matrix of a model at step 0.

    `source` is a file or a folder, a live module, a state dict, or what a training script saved around one.
    `recipe` is the name of a scheme, or "auto" for the one that fits best. `std` is the scheme's std param
    (default: the config's initializer_range, else .02). With `trained` nothing is judged. `patterns` maps
    regular expressions on names to roles; `heads` is the number of heads, for fused heads without a config.
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
    roles = find_roles(shapes, config, patterns, checkpoint.types)
    rows, vectors = _measured(checkpoint, roles)
    if not rows:
        raise BadInput(f"{checkpoint.source}: no weight matrix among {len(shapes)} tensors: expected a model")
    broken = tuple(name for name, moments in vectors.items() if moments.broken)
    if trained:  # where matrices are judged, their verdict says so
        broken = (*(row.parameter.name for row in rows if row.moments.broken), *broken)
    report = Audit(checkpoint.source, tuple(rows), broken=broken, notes=tuple(_absent(checkpoint, rows)))
    if trained:
        return report
    report = _judged(report, recipe, std or _config_std(config), _all_ties(checkpoint, rows))
    return replace(report, notes=(*report.notes, *_doubts(vectors, report.recipe)))


def _check_options(recipe: str, std: float | None, heads: int | None) -> None:
    check_name("recipe", recipe, (AUTO, *SCHEMES), OTHER_NAMES)
    if std is not None and not 0 < std < math.inf:
        raise BadInput(f"std is {std}: expected a number above 0")
    if heads is not None and heads < 1:
        raise BadInput(f"heads is {heads}: expected 1 or more")


def _opened(source: Any) -> Checkpoint:
    if isinstance(source, str | Path):
        return open_checkpoint(source)
    from variance_dynamics.auditing.in_memory import from_memory

    return from_memory(source)


def _config_std(config: Mapping[str, Any]) -> float:
    value = config.get("initializer_range")
    return float(value) if isinstance(value, int | float) and value > 0 else USUAL_STD


def _measured(checkpoint: Checkpoint, roles: NetworkRoles) -> tuple[list[AuditRow], dict[str, Moments]]:
    """A row per matrix in the order of a report, and the moments of each vector by name."""
    tensors = checkpoint.tensors
    rows = []
    for piece in _with_progress(roles.pieces):
        stored, embedding = tensors[piece.tensor], piece.parameter.role in EMBEDDINGS
        rows.append(judge.measured(piece, measure(piece.of(stored.raw()), stored.dtype, embedding)))
    vectors = {name: measure(tensors[name].raw(), tensors[name].dtype) for name in roles.vectors}
    return sorted(rows, key=_order), vectors


def _with_progress(pieces: tuple[Piece, ...]) -> Iterable[Piece]:
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
    role, inside = row.parameter.role, (*EMBEDDINGS, *BLOCK)
    after = role not in (*inside, UNKNOWN)
    return after, row.parameter.layer, inside.index(role) if role in inside else len(inside)


def _all_ties(checkpoint: Checkpoint, rows: list[AuditRow]) -> dict[str, str]:
    """Tensors that share memory with another, and copies: they have the same moments to the last bit."""
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
    fits = tuple(schemes_that_fit(own, sigma)) if recipe == AUTO else ()
    if fits:
        recipe, sigma = fits[0].recipe, fits[0].sigma
        _check_fit(report.source, own, fits[0])
    rows = judge.judged(list(report.rows), recipe, sigma, ties)
    if all(row.verdict in (judge.UNJUDGED, judge.TIED) for row in rows):
        roles = ", ".join(sorted({row.parameter.role for row in rows}))
        raise BadInput(f"{report.source}: roles are {roles}: expected some that {recipe} is about")
    return replace(report, rows=tuple(rows), recipe=recipe, sigma=sigma, fits=fits)


def _check_fit(source: str, rows: list[AuditRow], fit: SchemeFit) -> None:
    z = z_score(judge.TESTS * len(rows))
    stds = [(row, SCHEMES[fit.recipe].allowed(row.parameter, fit.sigma)) for row in rows]
    judgeable = [(row, allowed) for row, allowed in stds if allowed and row.moments.std > 0]
    fitting = sum(any(judge.within(row, std, z) for std in allowed) for row, allowed in judgeable)
    if judgeable and fitting < ENOUGH * len(judgeable):
        nearest = f"the nearest, {fit.recipe}, fits {fitting} of {len(judgeable)} matrices"
        raise BadInput(f"{source}: no recipe fits ({nearest}): expected a model at step 0; "
                       "name its --recipe, or measure with --trained")


def _absent(checkpoint: Checkpoint, rows: list[AuditRow]) -> Iterator[str]:
    """Notes on what was read, and on what the report does not hold."""
    yield from checkpoint.notes
    types = ", ".join(sorted(set(checkpoint.skipped.values())))
    if types:
        yield f"{len(checkpoint.skipped)} tensors of type {types} were left out"
    language_model = any("LM" in name for name in checkpoint.config.get("architectures") or ())
    headless = all(row.parameter.role != "readout" for row in rows)
    if language_model and headless and checkpoint.config.get("tie_word_embeddings", True):
        yield "the head is not in the file: it is tied to the embedding"


def _doubts(vectors: Mapping[str, Moments], recipe: str) -> Iterator[str]:
    """Notes on vectors that do not look like those of a model at step 0."""
    biases = [name for name, moments in vectors.items() if name.endswith("bias") and moments.absmax > 0]
    if biases and recipe != "torch_default":
        yield f"{len(biases)} biases are not 0 (PyTorch's default draws them), first {biases[0]}"
    if any(NORM.search(name) and not moments.constant for name, moments in vectors.items()):
        yield "norm scales have left their start, so this model looks trained: see --trained"
