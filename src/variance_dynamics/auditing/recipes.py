"""Which recipe a model was drawn by: a posterior over SCHEMES from the std of all its matrices.

A matrix follows the recipe with probability 1 - FAULTY, and ln std then has its sampling error; else its std
may be anything over WIDTH units of ln. So one faulty layer does not decide, and many layers decide surely.
"""

import difflib
import math
from dataclasses import dataclass, replace
from statistics import median

from variance_dynamics.auditing.judge import Row, accepted, expected_std, within
from variance_dynamics.auditing.sampling import z_score
from variance_dynamics.base.errors import BadInput
from variance_dynamics.weights.schemes import SCHEMES

USUAL_STD = 0.02
"""Of GPT-2, and of most transformers since."""
FAULTY = 0.1
WIDTH = math.log(1e6)
FITTED_PRIOR = 1e-3
"""A std that was fitted to the data has to explain this much more than the one that was to be expected."""
OTHER_NAMES = {"he": "kaiming", "glorot": "xavier", "pytorch": "torch_default", "default": "torch_default",
               "bert": "normal", "llama": "normal", "spectral": "mup"}
AUTO = "auto"
CONTROLS = ("xavier_sqrt2",)
"""Made for this study and used by nobody else: where others explain the weights as well, those are named."""


@dataclass(frozen=True)
class Fit:
    """A recipe with its std param, and how probable it is beside the others, 0..1.

    `same` names the recipes that give each of these matrices the same std: nothing can tell them apart.
    """

    recipe: str
    sigma: float
    probability: float
    fitted: bool
    same: tuple[str, ...] = ()


def check_recipe(name: str) -> None:
    """Raises BadInput for an unknown recipe, with the nearest one."""
    if name in (*SCHEMES, AUTO):
        return
    similar = difflib.get_close_matches(name.lower(), [*SCHEMES, AUTO], 1)
    near = OTHER_NAMES.get(name.lower(), *similar) if similar else OTHER_NAMES.get(name.lower())
    hint = f" (did you mean {near}?)" if near else ""
    raise BadInput(f"recipe is {name!r}: expected one of {', '.join([AUTO, *SCHEMES])}{hint}")


def fits(rows: list[Row], sigma: float) -> list[Fit]:
    """Every recipe, the most probable first; `sigma` is the std to be expected, beside the one fitted."""
    rows = [row for row in rows if row.moments.std > 0 and not row.moments.broken]
    scored = []
    for recipe, same in _distinct(rows).items():
        scored.append((_log_likelihood(rows, recipe, sigma), Fit(recipe, sigma, 0.0, False, same)))
        fitted = fitted_std(rows, recipe)
        if fitted:
            score = _log_likelihood(rows, recipe, fitted) + math.log(FITTED_PRIOR)
            scored.append((score, Fit(recipe, fitted, 0.0, True, same)))
    top = max(score for score, _ in scored)
    total = sum(math.exp(score - top) for score, _ in scored)
    found = [replace(fit, probability=math.exp(score - top) / total) for score, fit in scored]
    return sorted(found, key=lambda fit: -fit.probability)


def _distinct(rows: list[Row]) -> dict[str, tuple[str, ...]]:
    """Recipes that differ on these matrices, the first of each kind, with the others that agree with it."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for recipe in sorted(SCHEMES, key=CONTROLS.__contains__):
        given = (expected_std(recipe, row.parameter, sigma) for row in rows for sigma in (USUAL_STD, 1.0))
        kinds.setdefault(tuple(f"{std:.9g}" if std else "" for std in given), []).append(recipe)
    return {recipe: tuple(same) for recipe, *same in kinds.values()}


def _log_likelihood(rows: list[Row], recipe: str, sigma: float) -> float:
    return sum(max((_log_density(row, std) for std in accepted(recipe, row.parameter, sigma)),
                   default=-math.log(WIDTH)) for row in rows)


def _log_density(row: Row, expected: float) -> float:
    """Of ln std; its sampling variance is 1 / (2 nu)."""
    error = math.log(row.moments.std / expected)
    gauss = math.exp(-row.freedom * error**2) * math.sqrt(row.freedom / math.pi)
    return math.log((1 - FAULTY) * gauss + FAULTY / WIDTH)


def fitted_std(rows: list[Row], recipe: str) -> float | None:
    """The std param that explains most matrices; None where the recipe has none, or for lack of matrices.

    From the median, then twice the mean weighted by precision over the matrices that agree with it.
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


def _per_sigma(row: Row, recipe: str) -> float | None:
    """Std of this parameter at std param 1, if it scales with it."""
    one, two = (expected_std(recipe, row.parameter, sigma) for sigma in (1.0, 2.0))
    return one if one and two and math.isclose(two, 2 * one) else None
