"""An audit as text for a person, and as JSON and CSV for a machine."""

import csv
import io
import json
import math
from typing import Any

from variance_dynamics.auditing import judge
from variance_dynamics.auditing.audit import Audit
from variance_dynamics.auditing.judge import AuditRow
from variance_dynamics.base.terminal import aligned, printable
from variance_dynamics.roles.find_roles import UNKNOWN
from variance_dynamics.weights.schemes import SCHEMES

COLUMNS = ("layer", "role", "tensor", "shape", "std", "expected", "ratio", "allowed", "mean", "kurtosis",
           "verdict")
JUDGED = ("expected", "ratio", "allowed", "verdict")
"""Columns that are left out where nothing was judged."""
WORDS = ("role", "tensor", "verdict")
SHOWN = 5
"""Names in the last line."""
SCREEN = 30
"""Rows. After a longer table its alarms are listed once more."""
LIKELY = 0.05
"""Schemes at least this probable are named."""


def record(row: AuditRow) -> dict[str, Any]:
    """One row as plain values; None where there is no value, or no finite one."""
    p, m = row.parameter, row.moments
    numbers = {"std": m.std if m.count else None, "expected": row.expected, "ratio": row.ratio,
               "ratio_low": row.low, "ratio_high": row.high, "mean": m.mean, "kurtosis": m.kurtosis,
               "absmax": m.absmax}
    finite = {key: value for key, value in numbers.items() if value is not None and math.isfinite(value)}
    place = {"name": p.name, "role": p.role, "layer": p.layer, "shape": list(row.piece.shape)}
    return {**place, "count": m.count, **dict.fromkeys(numbers), **finite,
            "family": row.family, "verdict": row.verdict, "note": row.note}


def to_json(report: Audit) -> str:
    """The whole report as one JSON object."""
    return json.dumps({"source": report.source, "recipe": report.recipe or None, "std": report.sigma,
                       "recipes": [vars(fit) for fit in report.fits],
                       "alarms": len(report.alarms), "broken_vectors": list(report.broken),
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
    parts = [_headline(report), "", *lines, "", *_again(report), *notes, _verdict(report)]
    return "\n".join(map(printable, parts))


def _again(report: Audit) -> list[str]:
    """The alarms once more, where the table is longer than a screen."""
    alarms = report.alarms if len(report.rows) > SCREEN else ()
    return [f"{row.parameter.name}: {row.verdict}, {row.note}" for row in alarms]


def _headline(report: Audit) -> str:
    count = sum(row.moments.count for row in report.rows if row.verdict != judge.TIED)
    what = f"{report.source}: {len(report.rows)} matrices, {count:,} weights"
    if not report.recipe:
        return f"{what}; measured, not judged"
    expected = SCHEMES[report.recipe].expected
    uses_std = any(expected(row.parameter, 1.0) != expected(row.parameter, 2.0) for row in report.rows)
    std = f", std {report.sigma:.4g}" if uses_std else ""
    return f"{what}; recipe {report.recipe}{std}{_how_sure(report)}"


def _how_sure(report: Audit) -> str:
    if not report.fits:
        return ""
    totals: dict[str, float] = {}
    for fit in report.fits:
        names = " = ".join([fit.recipe, *fit.same])
        totals[names] = totals.get(names, 0.0) + fit.probability
    likely = [f"{names} {_percent(share)}" for names, share in totals.items() if share >= LIKELY]
    fitted = ", std fitted" if report.fits[0].fitted else ""
    return f" (best fit: {', '.join(likely)}{fitted})"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share < 0.995 else "over 99%"


def _cells(row: AuditRow) -> dict[str, str]:
    p, m = row.parameter, row.moments
    judged = {"expected": "", "ratio": "", "allowed": ""}
    if row.expected is not None and row.ratio is not None:
        judged = {"expected": f"{row.expected:.5f}", "ratio": f"{row.ratio:.4f}",
                  "allowed": f"{row.low:.4f}..{row.high:.4f}"}
    padding = f"{m.empty_rows} empty rows left out" if m.empty_rows and row.verdict != judge.NEVER else ""
    note = "; ".join(part for part in (row.note, padding) if part)
    return {"layer": str(p.layer), "role": p.role, "tensor": p.name, "shape": _shape(row), **judged,
            "std": f"{m.std:.5f}" if m.count else "", "mean": f"{m.mean:+.1e}" if m.count else "",
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
              for verdict in (judge.OK, judge.OFF, judge.NEVER, judge.TIED, judge.UNJUDGED)}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) + roles + broken


def _counted(names: tuple[str, ...]) -> str:
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} tensors: {', '.join(names[:SHOWN])}{more}"
