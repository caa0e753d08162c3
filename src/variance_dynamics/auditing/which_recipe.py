"""Which recipe a model was drawn by: a posterior over recipes from all its matrices.

A matrix follows the recipe with probability 1 - FAULTY, and ln std then differs from the expected one by its
sampling error. Otherwise its std may be anything, over a range of RANGE in ln std. So one faulty layer
decides nothing, and many layers decide with certainty. A matrix that should be constant and is counts as one
whose std is right.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from variance_dynamics.auditing.judge import AuditRow, problems, within
from variance_dynamics.auditing.sampling import z_score
from variance_dynamics.base.errors import BadInput
from variance_dynamics.recipes.built_in import BLOCKS, DENSE, GPT2, KINDS, TORCH
from variance_dynamics.recipes.named import recipes_for
from variance_dynamics.recipes.plan import Described, Plan
from variance_dynamics.recipes.recipe import Recipe
from variance_dynamics.weights.laws import ANY, CONSTANT, Law
from variance_dynamics.weights.parameter import IN_BLOCK

FAULTY = 0.1
RANGE = math.log(1e6)
FITTED_PRIOR = 1e-3
"""Prior odds of a std that was fitted to the weights, against the one that was to be expected."""
AUTO = "auto"
MOST = 50
"""Rows of each role from which the recipe is chosen."""
GPT2_NAMES = re.compile(r"(^|\.)c_attn(\.|$)")


@dataclass(frozen=True)
class RecipeFit:
    """A recipe with its value of `std`, its probability beside the others, and how many matrices it fits.

    `fitted` says that `std` was fitted to the weights; `same` names the recipes that give each of these
    matrices the same std, so that nothing can tell them apart.
    """

    recipe: str
    sigma: float
    probability: float
    fitted: bool
    fits: int
    same: tuple[str, ...] = ()


def representative(rows: Sequence[AuditRow]) -> list[AuditRow]:
    """At most MOST rows of each role, evenly chosen: thousands of experts say no more, and take a minute."""
    roles: dict[str, list[AuditRow]] = {}
    for row in rows:
        roles.setdefault(row.parameter.role, []).append(row)
    return [row for each in roles.values() for row in each[:: -(-len(each) // MOST)]]


def kind_of(described: Described) -> str:
    """The kind of network, which decides which recipes explain its weights.

    GPT-2's family scales the residual projections, so that there "all the same std" is a fault. What PyTorch
    itself draws is meant in networks without blocks and in those of torch.nn's own layers; in any other
    transformer it says that the init never ran.
    """
    names, roles = list(described.shapes), {piece.parameter.role for piece in described.roles.pieces}
    if any(map(GPT2_NAMES.search, names)):
        return GPT2
    fused = any(name.endswith(("in_proj_weight", "q_proj_weight")) for name in names)
    if fused and not any("c_fc" in name for name in names):
        return TORCH
    return BLOCKS if roles.intersection(IN_BLOCK) else DENSE


def candidates(kind: str | None = None) -> list[Recipe]:
    """The recipes for this kind of network; those for any kind if it is None."""
    kinds = KINDS if kind is None else (kind,)
    return list({recipe.name: recipe for each in kinds for recipe in recipes_for(each)}.values())


def recipes_that_fit(rows: Sequence[AuditRow], described: Described, recipes: Iterable[Recipe],
                     std: float | None = None) -> list[RecipeFit]:
    """Every recipe, and where no std is given again with a fitted one; the most probable first.

    With `std` only the recipes that use one are considered. Empty where no matrix tells anything.
    """
    rows = [row for row in rows if not row.moments.broken and row.moments.count]
    if not any(row.moments.std > 0 for row in rows):
        return []
    plans = [Plan(recipe, described, described.std(recipe, std)) for recipe in recipes]
    scored = []
    for laws, same in _distinct(rows, plans, std):
        first = same[0]
        names = tuple(plan.recipe.name for plan in same[1:])
        scored.append(_scored(rows, laws, first, names, fitted=False))
        refitted = _refitted(rows, first) if std is None else None
        if refitted:
            scored.append(_scored(rows, _laws(rows, refitted), refitted, names, fitted=True))
    return _probable(scored)


def _probable(scored: list[tuple[float, RecipeFit]]) -> list[RecipeFit]:
    if not scored:
        return []
    top = max(score for score, _ in scored)
    total = sum(math.exp(score - top) for score, _ in scored)
    shared = [replace(fit, probability=math.exp(score - top) / total) for score, fit in scored]
    return sorted(shared, key=lambda fit: (-fit.probability, -fit.fits))


LawsOfRows = list[tuple[Law, ...]]


def _laws(rows: Sequence[AuditRow], plan: Plan) -> LawsOfRows:
    return [plan.of_matrix(row.piece) for row in rows]


def _distinct(rows: Sequence[AuditRow], plans: Iterable[Plan], std: float | None
              ) -> Iterable[tuple[LawsOfRows, list[Plan]]]:
    """The laws of each row by a recipe, and those that give the same stds; without those that cannot apply.
    """
    kinds: dict[str, tuple[LawsOfRows, list[Plan]]] = {}
    for plan in plans:
        try:
            laws = _laws(rows, plan)
            if any(laws) and (std is None or plan.uses_std):
                stds = str([[(law.kind == CONSTANT, f"{law.std:.9g} {law.mean:.9g}") for law in allowed]
                            for allowed in laws])
                kinds.setdefault(stds, (laws, []))[1].append(plan)
        except BadInput:  # a formula needs a number that neither the recipe nor the config has
            continue
    return kinds.values()


def _scored(rows: Sequence[AuditRow], laws: LawsOfRows, plan: Plan, same: tuple[str, ...], fitted: bool
            ) -> tuple[float, RecipeFit]:
    """Log posterior, up to a constant, and the fit."""
    z = z_score(len(rows))
    agreeing = [[law for law in allowed if not problems(row, law, z)]
                for row, allowed in zip(rows, laws, strict=True)]
    score = sum(_log_likelihood(row, allowed, bool(right))
                for row, allowed, right in zip(rows, laws, agreeing, strict=True))
    prior = math.log(FITTED_PRIOR) if fitted else 0.0
    return score + prior, RecipeFit(plan.recipe.name, plan.std, 0.0, fitted, sum(map(bool, agreeing)), same)


def _log_likelihood(row: AuditRow, laws: Sequence[Law], right: bool) -> float:
    told = [_log_density(row, law, right) for law in laws if law.kind != ANY]
    return max(told, default=-math.log(RANGE))


def _log_density(row: AuditRow, law: Law, right: bool) -> float:
    """Log of the density of ln std, whose sampling variance is 1 / (2 nu)."""
    if law.kind == CONSTANT or row.moments.std == 0:
        gauss = math.sqrt(row.freedom / math.pi) * right
    else:
        error = math.log(row.moments.std / law.std)
        gauss = math.exp(-row.freedom * error**2) * math.sqrt(row.freedom / math.pi)
        gauss *= right or bool(row.structure) or row.moments.kurtosis > 1
    return math.log((1 - FAULTY) * gauss + FAULTY / RANGE)


def _refitted(rows: Sequence[AuditRow], plan: Plan) -> Plan | None:
    """The plan with the `std` that explains most matrices; None where no matrix is proportional to it.

    It starts from the median. Then it is replaced, twice, by the geometric mean over the matrices that agree
    with it, weighted by their precision.
    """
    scaled = _per_std(rows, plan)
    if not scaled:
        return None
    sigma = median(row.moments.std / unit for row, unit in scaled)
    z = z_score(len(scaled))
    for _ in range(2):
        agreeing = [(row, unit) for row, unit in scaled if within(row, sigma * unit, z)]
        if not agreeing:
            break
        logs = [(row.freedom, math.log(row.moments.std / unit)) for row, unit in agreeing]
        sigma = math.exp(sum(nu * log for nu, log in logs) / sum(nu for nu, _ in logs))
    return replace(plan, std=sigma)


def _per_std(rows: Sequence[AuditRow], plan: Plan) -> list[tuple[AuditRow, float]]:
    """Rows whose std is proportional to `std`, with their std where that is 1."""
    one, two = (_laws(rows, replace(plan, std=std)) for std in (1.0, 2.0))
    return [(row, first[0].std) for row, first, second in zip(rows, one, two, strict=True)
            if first and first[0].std and math.isclose(second[0].std, 2 * first[0].std)
            and row.moments.std > 0]


def described_fit(fit: RecipeFit, count: int) -> str:
    """Words for a note: which recipe, and how many of `count` matrices it fits."""
    fitted = f" with std {fit.sigma:.4g} (fitted)" if fit.fitted else ""
    return f"{fit.recipe}{fitted}, fits {fit.fits} of {count} matrices"


