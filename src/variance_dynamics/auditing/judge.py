"""Verdicts: does each parameter hold what its recipe says? Bounds on sampling error decide, no tolerance.

Each matrix takes four tests (std, mean, largest value, kurtosis), and each role one more over all its layers
together; a vector that is drawn takes four. The chance of a false alarm is divided among all tests, so that a
correct model passes whatever its size. A constant is judged exactly.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from variance_dynamics.auditing import sampling
from variance_dynamics.auditing.sampling import FAMILIES, family, freedom, ratio_bounds, z_score
from variance_dynamics.auditing.tensors import Moments
from variance_dynamics.recipes.named import recipe_named
from variance_dynamics.recipes.plan import Plan
from variance_dynamics.weights.laws import ANY, CONSTANT, NORMAL, ORTHOGONAL, UNIFORM, Law, truncated_std
from variance_dynamics.weights.parameter import QKV, RESIDUAL, UNKNOWN, Parameter
from variance_dynamics.weights.pieces import Piece

OK = "as the recipe says"
OFF = "off"
NEVER = "never initialised"
TIED = "tied"
LEFT = "left to itself"
UNJUDGED = "not judged"
MEASURED = "measured"
ALARMS = (OFF, NEVER)
TESTS = 5
"""Tests per matrix: std, mean, largest value, kurtosis, and a share in its role's test."""
BFLOAT16 = 2**-8
"""Bound on the relative error of rounding to bfloat16."""
DEFAULT = "pytorch"
"""The recipe that a model has whose init never ran."""
FEW = 300
"""Of fewer draws the std is taken to be as uncertain as that of normal ones, whatever they are."""


@dataclass(frozen=True)
class AuditRow:
    """What is known of one matrix: its measured moments, the law that it should follow, and the verdict.

    `expected` is the law's std, None where the recipe says nothing; `low` and `high` bound std / expected by
    sampling error; `family` is the sampler that the kurtosis points to; `structure` says what no moment
    shows.
    """

    piece: Piece
    moments: Moments
    family: str
    structure: str = ""
    law: Law | None = None
    low: float | None = None
    high: float | None = None
    verdict: str = MEASURED
    note: str = ""

    @property
    def parameter(self) -> Parameter:
        """Its name, role and place."""
        return self.piece.parameter

    @property
    def expected(self) -> float | None:
        """The std of the law."""
        return self.law.std if self.law and self.law.kind != ANY else None

    @property
    def ratio(self) -> float | None:
        """std / expected."""
        return self.moments.std / self.expected if self.expected else None

    @property
    def kurtosis(self) -> float:
        """The excess kurtosis that the std's sampling error is computed with: the law's, if that is fixed."""
        fixed = self.law is not None and not self.law.any_shape and self.moments.count >= FEW
        return self.law.kurtosis if self.law and fixed else FAMILIES[self.family]

    @property
    def freedom(self) -> float:
        """nu of sampling.freedom."""
        return freedom(self.moments.count, self.kurtosis)


@dataclass(frozen=True)
class VectorRow:
    """What is known of one vector: norm, bias or scale."""

    name: str
    role: str
    moments: Moments
    law: Law | None = None
    verdict: str = MEASURED
    note: str = ""


def measured(piece: Piece, moments: Moments, structure: str = "") -> AuditRow:
    """A row without a verdict yet."""
    kurtosis = moments.kurtosis if math.isfinite(moments.kurtosis) else 0.0
    note = piece.note or (_broken(moments) if moments.broken else "")
    return AuditRow(piece, moments, family(kurtosis, max(1, moments.count)), structure, note=note)


def judged(rows: Sequence[AuditRow], plan: Plan, tied: Mapping[str, str], copies: Mapping[str, str],
           vectors: int = 0) -> list[AuditRow]:
    """Every row with its verdict under `plan`.

    `tied` maps a tensor to the one whose memory it shares; `copies` maps the name of a matrix to the one
    whose numbers it has without being tied to it. `vectors` is the number of those that are judged beside
    them.
    """
    z = z_score(TESTS * (len(rows) + vectors))
    default = Plan(recipe_named(DEFAULT), plan.described, plan.std)
    first = [_tied(row, plan, tied, copies) or _verdict(row, plan, default, z) for row in rows]
    return _by_role(first, z)


def _tied(row: AuditRow, plan: Plan, tied: Mapping[str, str], copies: Mapping[str, str]) -> AuditRow | None:
    """The row where another holds its numbers. What is not drawn, such as sinusoids, may be the same."""
    if row.piece.tensor in tied:
        return replace(row, verdict=TIED, note=f"the same matrix as {tied[row.piece.tensor]}")
    if row.parameter.name in copies and all(law.kind != ANY for law in plan.of_matrix(row.piece)):
        other = copies[row.parameter.name]
        return replace(row, verdict=OFF, note=f"the same numbers as {other}, which it is not tied to")
    return None


def _verdict(row: AuditRow, plan: Plan, default: Plan, z: float) -> AuditRow:
    if row.moments.broken:
        return replace(row, verdict=NEVER, note=_broken(row.moments))
    laws = plan.of_matrix(row.piece)
    if not laws:
        return _unjudged(row, plan)
    wrong = {law: problems(row, law, z) for law in laws}
    right = next((law for law in laws if not wrong[law]), None)
    row = _with_law(row, right or laws[0], z)
    if right:
        return replace(row, verdict=LEFT if right.kind == ANY else OK)
    return _what_is_wrong(row, wrong[laws[0]], default, z)


def _unjudged(row: AuditRow, plan: Plan) -> AuditRow:
    empty = _constant(row.moments)
    if empty:
        return replace(row, verdict=NEVER, note=empty)
    about = f"{plan.recipe.name} says nothing about role {row.parameter.role}"
    return replace(row, verdict=UNJUDGED, note=row.note if row.parameter.role == UNKNOWN else about)


def _with_law(row: AuditRow, law: Law, z: float) -> AuditRow:
    row = replace(row, law=law)
    low, high = _std_bounds(row, law, z) if law.std else (None, None)
    return replace(row, low=low, high=high)


def _what_is_wrong(row: AuditRow, wrong: list[str], default: Plan, z: float) -> AuditRow:
    """The verdict on a row that no law of the recipe explains."""
    empty = _constant(row.moments)
    if empty and row.expected:
        return replace(row, verdict=NEVER, note=empty)
    if _at_default(row, default, z):
        return replace(row, verdict=NEVER, note="PyTorch's default left in place")
    hints = _hints(row, z) if all(text.startswith(("std", "flatter")) for text in wrong) else []
    return replace(row, verdict=OFF, note="; ".join([*wrong, *hints]))


def judged_vector(row: VectorRow, plan: Plan, z: float) -> VectorRow:
    """The row with its verdict under `plan`, at a bound of z standard errors."""
    if row.moments.broken:
        return replace(row, verdict=NEVER, note=_broken(row.moments))
    laws = plan.of_vector(row.name)
    if not laws:
        return replace(row, verdict=UNJUDGED)
    drawn = AuditRow(Piece(plan.described.vector(row.name), row.name, ()), row.moments, NORMAL)
    wrong = [problems(drawn, law, z) for law in laws]
    right = next((law for law, found in zip(laws, wrong, strict=True) if not found), None)
    if right:
        return replace(row, law=right, verdict=LEFT if right.kind == ANY else OK)
    return replace(row, law=laws[0], verdict=OFF, note="; ".join(wrong[0]))


def _broken(moments: Moments) -> str:
    return f"{moments.broken:,} values NaN or infinite"


def _constant(moments: Moments) -> str:
    if moments.count == 0 or (moments.constant and moments.high == 0):
        return "all zero"
    return f"constant {moments.high:.6g}" if moments.constant else ""


def problems(row: AuditRow, law: Law, z: float) -> list[str]:
    """What the row has that draws by `law` have not, at a bound of z standard errors for each test."""
    if law.kind == ANY:
        return []
    if law.kind == CONSTANT:
        return _not_constant(row.moments, law.mean)
    if row.moments.constant or not row.moments.count:
        return [f"{_constant(row.moments)}: expected {law}"]
    row = replace(row, law=law)
    found = [row.structure, _wrong_std(row, law, z), _wrong_mean(row, law, z), _wrong_shape(row, law, z)]
    return [text for text in found if text]


def _not_constant(moments: Moments, value: float) -> list[str]:
    if not moments.count:
        return []
    close = BFLOAT16 * abs(value) if value not in (0.0, 1.0) else 0.0
    if max(abs(moments.low - value), abs(moments.high - value)) <= close:
        return []
    seen = _constant(moments) or f"values from {moments.low:.4g} to {moments.high:.4g}"
    return [f"{seen}: expected all {value:.6g}"]


def within(row: AuditRow, std: float, z: float) -> bool:
    """Whether draws with this std may have the measured one, at a bound of z standard errors."""
    low, high = ratio_bounds(row.freedom, z, exact=row.kurtosis == 0.0)
    return low <= row.moments.std / std <= high


def _std_bounds(row: AuditRow, law: Law, z: float) -> tuple[float, float]:
    """Bounds on std / expected.

    The rms of a semi-orthogonal matrix has no sampling error, but its mean has.
    """
    low, high = ratio_bounds(row.freedom, z, exact=row.kurtosis == 0.0)
    return (low, 1 + BFLOAT16) if law.kind == ORTHOGONAL else (low, high)


def _wrong_std(row: AuditRow, law: Law, z: float) -> str:
    low, high = _std_bounds(row, law, z)
    ratio = row.moments.std / law.std
    return "" if low <= ratio <= high else f"std x{ratio:.3g}"


def _wrong_mean(row: AuditRow, law: Law, z: float) -> str:
    moments = row.moments
    error = abs(moments.mean - law.mean) * math.sqrt(moments.count) / max(law.std, moments.std)
    return f"mean {error:.0f} standard errors from {law.mean:.3g}" if error > z else ""


def _wrong_shape(row: AuditRow, law: Law, z: float) -> str:
    """A value that the law hardly draws, or a kurtosis below the law's: flatter, or of few values."""
    moments = row.moments
    reach = max(abs(moments.low - law.mean), abs(moments.high - law.mean))
    bound = law.bound * (1 + BFLOAT16) if not law.any_shape else math.inf
    bound = min(bound, sampling.largest(moments.count, z) * max(law.std, moments.std))
    if reach > bound and not (law.kind == ORTHOGONAL and reach <= math.sqrt(moments.count) * law.std):
        return f"a weight of {reach / law.std:.3g} std" + ("" if math.isinf(law.bound)
                                                           else f": expected {law}")
    lowest = -1.2 if law.any_shape or law.kind == ORTHOGONAL else law.kurtosis
    margin = z * math.sqrt(24 / max(1, moments.count))
    flat = moments.kurtosis < lowest - margin
    return f"flatter than {law.kind}, kurtosis {moments.kurtosis:.2f}" if flat else ""


def _at_default(row: AuditRow, default: Plan, z: float) -> bool:
    """Whether the row is what PyTorch's own layer draws. Xavier of q, k and v as one may be meant, too."""
    laws = default.of_matrix(row.piece) if "in_proj_weight" not in row.parameter.name else ()
    return any(law.kind in (UNIFORM, NORMAL) and not problems(row, law, z) for law in laws)


def _hints(row: AuditRow, z: float) -> list[str]:
    """What the std is instead: the first known mistake that fits, if any."""
    fits = (name for name, std in _candidates(row) if std and within(row, std, z))
    return [f"it is {name}" for name in [next(fits, "")] if name]


def _candidates(row: AuditRow) -> Iterable[tuple[str, float]]:
    parameter, expected = row.parameter, row.expected or 0.0
    if row.piece.cut and parameter.role in QKV:
        fused = math.sqrt(2 / (parameter.fan_in + 3 * parameter.fan_out))
        yield "xavier of the whole fused tensor: draw each part", fused
    if parameter.role in RESIDUAL:
        yield "without the residual scaling 1/sqrt(2 layers)", expected * math.sqrt(2 * parameter.depth)
    if row.moments.kurtosis < 0:
        yield "a normal cut at two std and not corrected for it", expected * truncated_std(2.0)
    yield "the variance where the std belongs", expected**2


def _by_role(rows: list[AuditRow], z: float) -> list[AuditRow]:
    """The rows after a test of each role over all its layers: each may pass alone while all err one way."""
    roles: dict[str, list[AuditRow]] = {}
    for row in rows:
        if row.verdict == OK and row.expected and row.law and row.law.kind != ORTHOGONAL:
            roles.setdefault(row.parameter.role, []).append(row)
    notes = {role: note for role, members in roles.items() if (note := _common_error(members, z))}
    return [replace(row, verdict=OFF, note=notes[row.parameter.role])
            if row.verdict == OK and row.expected and row.parameter.role in notes else row for row in rows]


def _common_error(rows: list[AuditRow], z: float) -> str:
    nu = sum(row.freedom for row in rows)
    ratio = math.sqrt(sum(row.freedom * (row.ratio or 0.0) ** 2 for row in rows) / nu)
    low, high = ratio_bounds(nu, z, exact=all(row.kurtosis == 0.0 for row in rows))
    return "" if low <= ratio <= high else f"std x{ratio:.3g} over all {len(rows)} of this role together"
