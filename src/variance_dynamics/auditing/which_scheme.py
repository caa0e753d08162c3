"""Which scheme a model was drawn by: a posterior over SCHEMES from the std of all its matrices.

A matrix follows the scheme with probability 1 - FAULTY, and ln std then differs from the expected one by its
sampling error. Otherwise its std may be anything, over a range of RANGE in ln std. So one faulty layer
decides nothing, and many layers decide with certainty.
"""

import math
from dataclasses import dataclass, replace
from statistics import median

from variance_dynamics.auditing.judge import AuditRow, within
from variance_dynamics.auditing.sampling import z_score
from variance_dynamics.weights.schemes import SCHEMES

USUAL_STD = 0.02
"""The std param of GPT-2, and of most transformers since."""
FAULTY = 0.1
RANGE = math.log(1e6)
FITTED_PRIOR = 1e-3
"""Prior odds of a std that was fitted to the weights, against the one that was to be expected."""
AUTO = "auto"
CONTROLS = ("xavier_sqrt2",)
"""Schemes that only the study uses: where others explain the weights as well, those are named first."""


@dataclass(frozen=True)
class SchemeFit:
    """A scheme with its std param, and its probability beside the others, 0 to 1.

    `fitted` says that the std param was fitted; `same` names the schemes that give each of these matrices the
    same std, so that nothing can tell them apart.
    """

    recipe: str
    sigma: float
    probability: float
    fitted: bool
    same: tuple[str, ...] = ()


def schemes_that_fit(rows: list[AuditRow], sigma: float) -> list[SchemeFit]:
    """Every scheme with the std param `sigma`, and again with a fitted one; the most probable first."""
    rows = [row for row in rows if row.moments.std > 0 and not row.moments.broken]
    scored = []
    for recipe, same in _distinct(rows).items():
        scored.append((_log_likelihood(rows, recipe, sigma), SchemeFit(recipe, sigma, 0.0, False, same)))
        fitted = fitted_std(rows, recipe)
        if fitted:
            score = _log_likelihood(rows, recipe, fitted) + math.log(FITTED_PRIOR)
            scored.append((score, SchemeFit(recipe, fitted, 0.0, True, same)))
    top = max(score for score, _ in scored)
    total = sum(math.exp(score - top) for score, _ in scored)
    shared = [replace(fit, probability=math.exp(score - top) / total) for score, fit in scored]
    return sorted(shared, key=lambda fit: -fit.probability)


def _distinct(rows: list[AuditRow]) -> dict[str, tuple[str, ...]]:
    """Schemes that differ on these matrices: the first of each kind, and the others that agree with it."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for recipe in sorted(SCHEMES, key=CONTROLS.__contains__):
        given = (SCHEMES[recipe].expected(row.parameter, sigma) for row in rows for sigma in (USUAL_STD, 1.0))
        kinds.setdefault(tuple(f"{std:.9g}" if std else "" for std in given), []).append(recipe)
    return {recipe: tuple(same) for recipe, *same in kinds.values()}


def _log_likelihood(rows: list[AuditRow], recipe: str, sigma: float) -> float:
    return sum(max((_log_density(row, std) for std in SCHEMES[recipe].allowed(row.parameter, sigma)),
                   default=-math.log(RANGE)) for row in rows)


def _log_density(row: AuditRow, expected: float) -> float:
    """Log of the density of ln std, whose sampling variance is 1 / (2 nu)."""
    error = math.log(row.moments.std / expected)
    gauss = math.exp(-row.freedom * error**2) * math.sqrt(row.freedom / math.pi)
    return math.log((1 - FAULTY) * gauss + FAULTY / RANGE)


def fitted_std(rows: list[AuditRow], recipe: str) -> float | None:
    """The std param that explains most matrices; None where no matrix depends on it.

    It starts from the median. Then it is replaced, twice, by the geometric mean over the matrices that agree
    with it, weighted by their precision.
    """
    scaled = [(row, unit) for row in rows if (unit := _per_sigma(row, recipe))]
    if not scaled:
        return None
    sigma = median(row.moments.std / unit for row, unit in scaled)
    z = z_score(len(scaled))
    for _ in range(2):
        agreeing = [(row, unit) for row, unit in scaled if within(row, sigma * unit, z)]
        if not agreeing:
            return sigma
        logs = [(row.freedom, math.log(row.moments.std / unit)) for row, unit in agreeing]
        sigma = math.exp(sum(nu * log for nu, log in logs) / sum(nu for nu, _ in logs))
    return sigma


def _per_sigma(row: AuditRow, recipe: str) -> float | None:
    """The std of this matrix at std param 1, if it is proportional to the std param."""
    one, two = (SCHEMES[recipe].expected(row.parameter, sigma) for sigma in (1.0, 2.0))
    return one if one and two and math.isclose(two, 2 * one) else None
