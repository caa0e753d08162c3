"""docs/architectures.md: what is known of each of tests/architectures.py; as a script, this writes it."""

import math
import warnings
from collections import Counter

from torch import nn

from architectures import ARCHITECTURES, SKELETONS
from imports import ROOT
from study.stages.docs import replaced
from variance_dynamics import Tracker, audit, initialize
from variance_dynamics.base.errors import BadInput
from variance_dynamics.roles.of_model import roles_of
from variance_dynamics.weights.parameter import ROLES

PAGE, MARKER = ROOT / "docs" / "architectures.md", "architectures"
HEADER = (
    "architecture",
    "blocks",
    "matrices of each role",
    "vectors",
    "`audit`, fresh",
    "`initialize`, kaiming",
    "`Tracker`",
)
NO_INIT = "a skeleton: no init of its own"
LONG = 70
"""Characters of a message that are shown."""


def page(text: str) -> str:
    """The page with the table made anew."""
    return replaced(text, MARKER, table())


def table() -> str:
    """A row for each architecture."""
    rows = [HEADER, ("---",) * len(HEADER), *((name, *cells(name)) for name in ARCHITECTURES)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cells(name: str) -> tuple[str, ...]:
    """What is known of one architecture, and what the three commands make of a fresh model."""
    make = ARCHITECTURES[name]
    model = make()
    roles = roles_of(model)
    counts = Counter(piece.parameter.role for piece in roles.pieces)
    found = [f"{role} {counts[role]}" for role in (*ROLES, "unknown") if counts[role]]
    depth = max(piece.parameter.depth for piece in roles.pieces)
    vectors = [f"{role} {count}" for role, count in sorted(Counter(roles.vector_roles.values()).items())]
    fresh = NO_INIT if name in SKELETONS else _audited(model)
    return (
        str(depth),
        ", ".join(found),
        ", ".join(vectors) or "none",
        fresh,
        _initialized(make()),
        _tracked(model),
    )


def _audited(model: nn.Module) -> str:
    try:
        report = audit(model)
    except BadInput as problem:
        return _refused(problem)
    counts = Counter(row.verdict for row in report.rows)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    return f"{report.recipe}: {verdicts}; exit {report.exit_code}"


def _initialized(model: nn.Module) -> str:
    try:
        initialize(model, "kaiming")
        report = audit(model, "kaiming")
    except BadInput as problem:
        return _refused(problem)
    return (
        "audit agrees"
        if not report.exit_code
        else f"audit: {len(report.alarms)} alarms, exit {report.exit_code}"
    )


def _tracked(model: nn.Module) -> str:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        rows = Tracker(model).frame().query("stat == 'std'")
    unknown = f", {len(seen)} warning" * bool(seen)
    return f"{len(rows)} stds{unknown}" if rows["value"].map(math.isfinite).all() else "a std is not finite"


def _refused(problem: BadInput) -> str:
    text = str(problem).replace("|", "\\|")
    return f"refused: {text[:LONG]}{'...' * (len(text) > LONG)}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
