"""An audit, and as text for a person, as JSON and CSV for a machine."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from variance_dynamics.auditing import judge
from variance_dynamics.auditing.judge import AuditRow, VectorRow
from variance_dynamics.auditing.which_recipe import RecipeFit
from variance_dynamics.base.terminal import aligned, printable
from variance_dynamics.weights.parameter import UNKNOWN

COLUMNS = ("layer", "role", "tensor", "shape", "std", "expected", "ratio", "allowed", "mean", "kurtosis",
           "verdict")
JUDGED = ("expected", "ratio", "allowed", "verdict")
"""Columns that are left out where nothing was judged."""
WORDS = ("role", "tensor", "verdict")
SHOWN = 5
"""Names in the last line, and vectors of one kind of fault."""
SCREEN = 30
"""Rows. After a longer table its alarms are listed once more."""
LIKELY = 0.05
"""Recipes at least this probable are named."""


@dataclass(frozen=True)
class Audit:
    """A report: one row per matrix, in the order of the layers, and what is known of the whole model.

    `recipe` is the recipe's name, `chosen` says why it is this one, and `sigma` is its value of std; they and
    `fits` are empty where nothing was judged. `vectors` are norms, biases and scales. `broken` names vectors
    with NaN or infinite values, and matrices too where nothing was judged. `left_out` names tensors that may
    be weights and could not be read. `notes` are sentences for a person.
    """

    source: str
    rows: tuple[AuditRow, ...]
    vectors: tuple[VectorRow, ...] = ()
    recipe: str = ""
    chosen: str = ""
    sigma: float | None = None
    fits: tuple[RecipeFit, ...] = field(default=(), repr=False)
    broken: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def alarms(self) -> tuple[AuditRow, ...]:
        """Rows whose matrix is off or was never initialised."""
        return tuple(row for row in self.rows if row.verdict in judge.ALARMS)

    @property
    def vector_alarms(self) -> tuple[VectorRow, ...]:
        """Norms, biases and scales that are off."""
        return tuple(row for row in self.vectors if row.verdict in judge.ALARMS)

    @property
    def unjudged(self) -> tuple[str, ...]:
        """Matrices that could not be judged, by name: of unknown role, without a rule, or left out."""
        return (*(row.parameter.name for row in self.rows if row.verdict == judge.UNJUDGED), *self.left_out)

    @property
    def exit_code(self) -> int:
        """1 where something is off; else 2 where a matrix could not be judged, else 0."""
        if self.alarms or self.vector_alarms or self.broken:
            return 1
        return 2 if self.recipe and self.unjudged else 0

    def __str__(self) -> str:
        return to_text(self)


def record(row: AuditRow) -> dict[str, Any]:
    """One row as plain values; None where there is no value, or no finite one."""
    p, m = row.parameter, row.moments
    numbers = {"std": m.std if m.count else None, "expected": row.expected, "ratio": row.ratio,
               "ratio_low": row.low, "ratio_high": row.high, "mean": m.mean, "kurtosis": m.kurtosis,
               "absmax": m.absmax}
    finite = {key: value for key, value in numbers.items() if value is not None and math.isfinite(value)}
    place = {"name": p.name, "role": p.role, "layer": p.layer, "shape": list(row.piece.shape)}
    return {**place, "count": m.count, **dict.fromkeys(numbers), **finite, "family": row.family,
            "law": str(row.law) if row.law else None, "verdict": row.verdict, "note": row.note}


def _vector(row: VectorRow) -> dict[str, Any]:
    return {"name": row.name, "role": row.role, "law": str(row.law) if row.law else None,
            "verdict": row.verdict, "note": row.note}


def to_json(report: Audit) -> str:
    """The whole report as one JSON object."""
    return json.dumps({"source": report.source, "recipe": report.recipe or None, "chosen": report.chosen,
                       "std": report.sigma, "recipes": [vars(fit) for fit in report.fits],
                       "exit_code": report.exit_code, "alarms": len(report.alarms),
                       "vector_alarms": [_vector(row) for row in report.vector_alarms],
                       "broken_vectors": list(report.broken), "not_judged": list(report.unjudged),
                       "notes": list(report.notes), "rows": [record(row) for row in report.rows]},
                      indent=1, allow_nan=False)


def to_csv(report: Audit) -> str:
    """One line per matrix; the shape as 768x2304."""
    records = [{**record(row), "name": printable(row.parameter.name), "note": printable(row.note),
                "shape": _shape(row)} for row in report.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def to_text(report: Audit) -> str:
    """A headline, the table, notes, and a last line with the counts of each verdict."""
    columns = [column for column in COLUMNS if report.recipe or column not in JUDGED]
    table = [columns, *([_cells(row)[column] for column in columns] for row in report.rows)]
    notes = [f"note: {note}" for note in report.notes]
    lines = aligned(table, WORDS)
    parts = [_headline(report), "", *lines, "", *_again(report), *_vector_lines(report.vector_alarms), *notes,
             _verdict(report)]
    return "\n".join(map(printable, parts))


def alarms_as_text(report: Audit) -> str:
    """The alarms alone, one a line, then what could not be judged, the notes and the counts."""
    alarms = [_line(row) for row in report.alarms]
    vectors = _vector_lines(report.vector_alarms)
    missing = [f"not judged: {_counted(report.unjudged)}"] if report.unjudged else []
    notes = [f"note: {note}" for note in report.notes]
    return "\n".join(map(printable,
                         [_headline(report), *alarms, *vectors, *missing, *notes, _verdict(report)]))


def _again(report: Audit) -> list[str]:
    """The alarms once more, where the table is longer than a screen."""
    alarms = report.alarms if len(report.rows) > SCREEN else ()
    return [_line(row) for row in alarms]


def _line(row: AuditRow) -> str:
    return f"{row.parameter.name}: {row.verdict}, {row.note}"


def _vector_lines(rows: Sequence[VectorRow]) -> list[str]:
    """Vectors with the same fault together."""
    kinds: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        kinds.setdefault((row.role, row.verdict, row.note), []).append(row.name)
    lines = []
    for (role, verdict, note), names in kinds.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines.append(f"{', '.join(names[:SHOWN])}{more}: {role} {verdict}, {note}")
    return lines


def _headline(report: Audit) -> str:
    count = sum(row.moments.count for row in report.rows if row.verdict != judge.TIED)
    what = f"{report.source}: {len(report.rows)} matrices, {count:,} weights"
    if not report.recipe:
        return f"{what}; measured, not judged"
    std = f", std {report.sigma:.4g}" if report.sigma is not None else ""
    return f"{what}; recipe {report.recipe}{std} ({report.chosen}{_how_sure(report)})"


def _how_sure(report: Audit) -> str:
    if report.chosen != "best fit":
        return ""
    if all(row.verdict != judge.OK for row in report.rows):
        return ", though it fits no matrix"
    totals: dict[str, float] = {}
    for fit in report.fits:
        names = " = ".join([fit.recipe, *fit.same])
        totals[names] = totals.get(names, 0.0) + fit.probability
    likely = [f"{names} {_percent(share)}" for names, share in totals.items() if share >= LIKELY]
    return f": {', '.join(likely)}"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share < 0.995 else "over 99%"


def _number(value: float) -> str:
    """Five decimals where they say something."""
    return f"{value:.5f}" if value == 0 or 1e-4 <= abs(value) < 1e4 else f"{value:.3g}"


def _cells(row: AuditRow) -> dict[str, str]:
    p, m = row.parameter, row.moments
    judged = {"expected": "", "ratio": "", "allowed": ""}
    if row.expected is not None:
        judged["expected"] = _number(row.expected)
    if row.ratio is not None:
        judged["ratio"] = f"{row.ratio:.4f}" if row.ratio < 1e4 else f"{row.ratio:.3g}"
        judged["allowed"] = f"{row.low:.4f}..{row.high:.4f}"
    padding = f"{m.empty_rows} empty rows left out" if m.empty_rows and row.verdict != judge.NEVER else ""
    note = "; ".join(part for part in (row.note, padding) if part)
    return {"layer": str(p.layer), "role": p.role, "tensor": p.name, "shape": _shape(row), **judged,
            "std": _number(m.std) if m.count else "", "mean": f"{m.mean:+.1e}" if m.count else "",
            "kurtosis": f"{m.kurtosis:+.2f}" if math.isfinite(m.kurtosis) else "",
            "verdict": f"{row.verdict}: {note}" if note else row.verdict}


def _shape(row: AuditRow) -> str:
    return "x".join(map(str, row.piece.shape))


def _verdict(report: Audit) -> str:
    unknown = sum(row.parameter.role == UNKNOWN for row in report.rows)
    roles = f"; {unknown} of unknown role (settle them with --role PATTERN=ROLE)" if unknown else ""
    broken = f"; NaN or infinite values in {_counted(report.broken)}" if report.broken else ""
    if not report.recipe:
        return f"measured {len(report.rows)} matrices{roles}{broken}"
    counts = {verdict: sum(row.verdict == verdict for row in report.rows)
              for verdict in (judge.OK, judge.OFF, judge.NEVER, judge.TIED, judge.LEFT, judge.UNJUDGED)}
    parts = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    off = len(report.vector_alarms)
    vectors = [f"{off} of {len(report.vectors)} norms, biases and scales off"] if off else []
    left = f"; {len(report.left_out)} tensors left out and not judged" if report.left_out else ""
    return ", ".join([*parts, *vectors]) + left + roles + broken


def _counted(names: tuple[str, ...]) -> str:
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} tensors: {', '.join(names[:SHOWN])}{more}"
