"""Which tensors are one, and which only hold the same numbers."""

from collections.abc import Iterable, Sequence
from typing import Any

from variance_dynamics.auditing.judge import AuditRow
from variance_dynamics.auditing.tensors import Checkpoint

MAY_BE_TIED = ("embedding", "readout")
"""Roles of tensors that models tie, and that some files hold twice."""


def ties_and_copies(checkpoint: Checkpoint, rows: Sequence[AuditRow]) -> tuple[dict[str, str],
                                                                               dict[str, str]]:
    """Tensor -> the one that it is tied to; matrix -> the one whose numbers it has without being tied to it.

    The same numbers have the same moments to the last bit. In a live module ties are known by identity. In a
    file an embedding and a head with the same numbers are taken to be tied, unless the config denies it.
    """
    tied, copies = dict(checkpoint.tied), {}
    for row, first in _same_numbers(row for row in rows if row.piece.tensor not in tied):
        roles = {row.parameter.role, first.parameter.role}
        if roles <= set(MAY_BE_TIED) and not checkpoint.types and _may_tie(checkpoint):
            tied[row.piece.tensor] = first.piece.tensor
        else:
            copies[row.parameter.name] = first.parameter.name
    return tied, copies


def _same_numbers(rows: Iterable[AuditRow]) -> Iterable[tuple[AuditRow, AuditRow]]:
    """Each row with the first one that holds the same numbers; what is constant is not looked at."""
    owners: dict[Any, AuditRow] = {}
    for row in rows:
        if row.moments.count > 1 and not row.moments.constant and not row.moments.broken:
            first = owners.setdefault((row.moments, row.piece.shape), row)
            if first is not row:
                yield row, first


def _may_tie(checkpoint: Checkpoint) -> bool:
    return checkpoint.config.get("tie_word_embeddings", True) is not False
