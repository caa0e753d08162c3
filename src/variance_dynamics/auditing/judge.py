"""Verdicts: does each matrix hold what its scheme says? A bound on sampling error decides, not a tolerance.

Each matrix takes three tests (std, mean, largest value), and each role one more over all its layers together.
The chance of a false alarm is divided among all tests, so that a correct model passes whatever its size.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from variance_dynamics.auditing.sampling import FAMILIES, family, freedom, largest, ratio_bounds, z_score
from variance_dynamics.auditing.tensors import Moments
from variance_dynamics.roles.find_roles import UNKNOWN
from variance_dynamics.weights.parameter import EMBEDDINGS, RESIDUAL, Parameter
from variance_dynamics.weights.pieces import Piece
from variance_dynamics.weights.schemes import SCHEMES, torch_layer

OK = "as the recipe says"
OFF = "off"
NEVER = "never initialised"
TIED = "tied"
UNJUDGED = "not judged"
MEASURED = "measured"
ALARMS = (OFF, NEVER)
TESTS = 4
"""Tests per matrix: std, mean, largest value, and a share in its role's test."""
BFLOAT16 = 2**-8
"""Bound on the relative error of rounding to bfloat16."""
TRUNCATED_STD = 0.8796
"""Std of a standard normal that is cut at two std; some samplers do not correct for it."""


@dataclass(frozen=True)
class AuditRow:
    """What is known of one matrix: its measured moments, the expected std, and the verdict.

    `expected` is None where the scheme says nothing; `low` and `high` bound std / expected by sampling error;
    `family` is the sampler that the kurtosis points to.
    """

    piece: Piece
    moments: Moments
    family: str
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str = MEASURED
    note: str = ""

    @property
    def parameter(self) -> Parameter:
        """Its name, role and place."""
        return self.piece.parameter

    @property
    def ratio(self) -> float | None:
        """std / expected."""
        return self.moments.std / self.expected if self.expected else None

    @property
    def freedom(self) -> float:
        """nu of sampling.freedom, by the row's family."""
        return freedom(self.moments.count, FAMILIES[self.family])


def measured(piece: Piece, moments: Moments) -> AuditRow:
    """A row without a verdict yet."""
    kurtosis = moments.kurtosis if math.isfinite(moments.kurtosis) else 0.0
    note = _never_filled(moments) if moments.broken else piece.note
    return AuditRow(piece, moments, family(kurtosis, max(1, moments.count)), note=note)


def judged(rows: list[AuditRow], recipe: str, sigma: float, tied: Mapping[str, str]) -> list[AuditRow]:
    """Every row with its verdict under `recipe`, the name of a scheme with std param `sigma`.

    `tied` maps a tensor to the one whose memory or values it shares.
    """
    z = z_score(TESTS * len(rows))
    first = [_verdict(row, recipe, sigma, tied, z) for row in rows]
    return _by_role(first, z)


def within(row: AuditRow, std: float, z: float) -> bool:
    """Whether draws with this std may have the measured one, at a bound of z standard errors."""
    low, high = ratio_bounds(row.freedom, z)
    return low <= row.moments.std / std <= high


def _verdict(row: AuditRow, recipe: str, sigma: float, tied: Mapping[str, str], z: float) -> AuditRow:
    if row.piece.tensor in tied:
        return replace(row, verdict=TIED, note=f"the same matrix as {tied[row.piece.tensor]}")
    empty = _never_filled(row.moments)
    if empty:
        return replace(row, verdict=NEVER, note=empty)
    allowed = SCHEMES[recipe].allowed(row.parameter, sigma)
    if not allowed:
        unknown = row.parameter.role == UNKNOWN
        note = row.note if unknown else f"{recipe} says nothing about role {row.parameter.role}"
        return replace(row, verdict=UNJUDGED, note=note)
    low, high = ratio_bounds(row.freedom, z)
    row = replace(row, expected=allowed[0], low=low, high=high)
    wrong = {std: _problems(row, std, z) for std in allowed}
    for std in allowed:
        if not wrong[std]:
            return replace(row, expected=std, verdict=OK)
    if recipe != "torch_default" and _at_torch_default(row, z):
        return replace(row, verdict=NEVER, note="PyTorch's default left in place")
    return replace(row, verdict=OFF, note="; ".join([*wrong[allowed[0]], *_hints(row, recipe, sigma, z)]))


def _never_filled(moments: Moments) -> str:
    if moments.broken:
        return f"{moments.broken:,} values NaN or infinite"
    if moments.count == 0 or (moments.constant and moments.high == 0):
        return "all zero"
    return f"constant {moments.high:.6g}" if moments.constant else ""


def _problems(row: AuditRow, expected: float, z: float) -> list[str]:
    moments, ratio = row.moments, row.moments.std / expected
    error = abs(moments.mean) * math.sqrt(moments.count) / expected
    wrong = [] if within(row, expected, z) else [f"std x{ratio:.3g}"]
    if error > z:
        wrong.append(f"mean {error:.0f} standard errors from 0")
    if moments.absmax > largest(moments.count, z) * max(expected, moments.std):
        wrong.append(f"a weight of {moments.absmax / expected:.0f} std")
    return wrong


def _at_torch_default(row: AuditRow, z: float) -> bool:
    """Whether the row has the std of PyTorch's default, and its uniform draws, which lie within sqrt(3) std.

    Only the std is tested for embeddings, as nn.Embedding draws from a normal.
    """
    std = torch_layer(row.parameter)
    if not within(row, std, z):
        return False
    bounded = row.moments.absmax <= (1 + BFLOAT16) * math.sqrt(3) * std and row.moments.kurtosis < -0.6
    return bounded or row.parameter.role in EMBEDDINGS


def _hints(row: AuditRow, recipe: str, sigma: float, z: float) -> list[str]:
    """What the std is instead: the first known mistake that fits, if any."""
    if within(row, row.expected or 0.0, z):
        return []
    candidates = _candidates(row, recipe, sigma)
    return next(([f"it is {name}"] for name, std in candidates if std and within(row, std, z)), [])


def _candidates(row: AuditRow, recipe: str, sigma: float) -> Iterable[tuple[str, float | None]]:
    parameter, expected = row.parameter, row.expected or 0.0
    if row.piece.cut:
        fused = replace(parameter, fan_out=3 * parameter.fan_out)
        for name in (recipe, "xavier"):
            yield f"{name} of the whole fused tensor: draw each part", SCHEMES[name].expected(fused, sigma)
    if parameter.role in RESIDUAL:
        yield "without the residual scaling 1/sqrt(2 layers)", expected * math.sqrt(2 * parameter.depth)
    yield "a normal cut at two std and not corrected for it", expected * TRUNCATED_STD
    yield "the variance where the std belongs", expected**2
    for name in SCHEMES:
        yield f"what {name} gives", SCHEMES[name].expected(parameter, sigma)


def _by_role(rows: list[AuditRow], z: float) -> list[AuditRow]:
    """The rows after a test of each role over all its layers: each may pass alone while all err one way."""
    roles: dict[str, list[AuditRow]] = {}
    for row in rows:
        if row.verdict == OK:
            roles.setdefault(row.parameter.role, []).append(row)
    notes = {role: note for role, members in roles.items() if (note := _common_error(members, z))}
    return [replace(row, verdict=OFF, note=notes[row.parameter.role])
            if row.verdict == OK and row.parameter.role in notes else row for row in rows]


def _common_error(rows: list[AuditRow], z: float) -> str:
    nu = sum(row.freedom for row in rows)
    ratio = math.sqrt(sum(row.freedom * (row.ratio or 0.0) ** 2 for row in rows) / nu)
    low, high = ratio_bounds(nu, z)
    return "" if low <= ratio <= high else f"std x{ratio:.3g} over all {len(rows)} of this role together"
