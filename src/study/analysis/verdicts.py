"""Verdicts: how a claim's rule turns effects into supported, contradicted, inconclusive or not run.

Effects are one table, a row per claim, cell and seed. The unit of replication is the seed: its effect is
its mean over the claim's primary cells, which are fixed beforehand, and one interval over seeds decides.
Cells are tested one by one only as a guard (Holm), never as replicates.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from study.analysis.params import AnalyzeParams
from study.analysis.statistics import Floats, Interval, holm, interval, p_value

SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_RUN = "supported", "contradicted", "inconclusive", "not run"
COLUMNS = ["claim", "cell", "primary", "seed", "effect", "predicted", "note"]
AGAINST_NO_CHANGE = "error"
"""Cell of the null law's claim: |ln error| of the law minus that of "no change"."""
ALIKE = "all seeds alike, and too few to tell"
TIME_CONSTANTS = "time constants"
"""Cell of the narrow bands' claim, not judged: 2 sum lr wd, how many time constants of the variance."""


@dataclass(frozen=True)
class Cell:
    """One cell's mean over seeds, its interval, and its Holm-adjusted p value against the threshold."""

    effect: float
    lo: float
    hi: float
    n: int
    p_holm: float


@dataclass(frozen=True)
class Verdict:
    """What the rule says: the effect with its interval over n seeds, a note, and the cells it is made of."""

    verdict: str
    effect: float = float("nan")
    lo: float = float("nan")
    hi: float = float("nan")
    n: int = 0
    note: str = ""
    cells: dict[str, Cell] = field(default_factory=dict)


Rule = Callable[[pd.DataFrame, AnalyzeParams], Verdict]
Threshold = Callable[[AnalyzeParams], float]


@dataclass(frozen=True)
class Claim:
    """`rule` is a template over AnalyzeParams' sections, so that text and code share their thresholds.

    changed: what of the rule, or of what it reads, changed after looking; the verdict's note tells it.
    aside: endings of exploratory cells, with what is different there; the verdict's note tells their mean.
    """

    origin: str
    sentence: str
    effect: str
    rule: str
    decide: Rule
    changed: str = ""
    aside: dict[str, str] = field(default_factory=dict)

    def judge(self, effects: pd.DataFrame, params: AnalyzeParams) -> Verdict:
        """The rule's verdict, its note followed by what the exploratory cells say; they decide nothing."""
        found = self.decide(effects, params)
        told = [_aside(effects, ending, words, params) for ending, words in self.aside.items()]
        changed = self.changed and f"changed after looking: {self.changed}"
        return replace(found, note="; ".join(filter(None, [found.note, changed, *told])))

    def rule_text(self, params: AnalyzeParams) -> str:
        return self.rule.format(e1=params.e1, e2=params.e2, e3=params.e3)


def beyond(threshold: Threshold, sign: int, relative: bool = False) -> Rule:
    """Supported if the interval lies wholly beyond the threshold (above it for sign 1, below for -1) and no
    cell is on the other side after Holm; contradicted is the mirror image; anything else is inconclusive.

    Seeds that are all alike have an interval of no width. Pooled, they decide only if the sign test's 2^(1-n)
    does; a cell of them counts for its side, which can but bar a verdict. A seed without a cell is dropped.

    relative: a seed's effect is divided by what theory predicts for it.
    """

    def decide(effects: pd.DataFrame, params: AnalyzeParams) -> Verdict:
        bar = threshold(params)
        by_seed = _primary(effects, relative)
        cells = _cells(by_seed, [p_value(column.dropna() - bar) for _, column in by_seed.items()], params)
        pooled = by_seed.mean(axis=1, skipna=False).dropna().to_numpy()
        if len(pooled) < 2:
            return _not_run(effects, pooled, cells)
        found = _interval(pooled, params)
        clear = {name: cell.p_holm < 1 - params.confidence or by_seed[name].dropna().nunique() == 1
                 for name, cell in cells.items()}
        sides = {name: int(np.sign(sign * (cell.effect - bar))) * clear[name] for name, cell in cells.items()}
        low, high = sorted((sign * (found.lo - bar), sign * (found.hi - bar)))
        enough = _enough(pooled, params)
        verdict = (SUPPORTED if enough and low > 0 and -1 not in sides.values() else
                   CONTRADICTED if enough and high < 0 and 1 not in sides.values() else INCONCLUSIVE)
        lost = len(by_seed) - len(pooled)
        told = [_told(sides, cells, params), ALIKE * (not enough),
                f"{lost} seeds lack a cell and are dropped" * (lost > 0), *_notes(effects)]
        return _verdict(verdict, found, cells, *filter(None, told))

    return decide


def _enough(pooled: Floats, params: AnalyzeParams) -> bool:
    """Whether the values differ, or are so many that their agreement is no accident (the sign test's p)."""
    return bool(np.ptp(pooled) > 0 or 2.0 ** (1 - len(pooled)) <= 1 - params.confidence)


def _aside(effects: pd.DataFrame, ending: str, words: str, params: AnalyzeParams) -> str:
    """The mean over cells of that ending, with its interval over the seeds that have them all."""
    rows = effects[effects["cell"].astype(str).str.endswith(ending) & ~effects["primary"].astype(bool)]
    by_seed = _by_seed(rows, rows["effect"])
    pooled = by_seed.mean(axis=1, skipna=False).dropna().to_numpy()
    if not len(pooled):
        return ""
    found = _interval(pooled, params)
    return f"exploratory, {words}: {found.mean:.2g} [{found.lo:.2g}, {found.hi:.2g}]"


def _told(sides: dict[str, int], cells: dict[str, Cell], params: AnalyzeParams) -> str:
    """The cells by the side that they are on after Holm, or because all of their seeds are alike."""
    alike = {name for name, cell in cells.items() if sides[name] and cell.p_holm >= 1 - params.confidence}
    shown = {name: name + " (all seeds alike)" * (name in alike) for name in sides}
    names = {side: ", ".join(shown[name] for name, at in sides.items() if at == side) for side in (1, -1, 0)}
    words = {1: "for it", -1: "against it", 0: "neither"}
    return "after Holm " + ", ".join(f"{word}: {names[side] or 'no cell'}" for side, word in words.items())


def settled(effects: pd.DataFrame, params: AnalyzeParams) -> Verdict:
    """At most 0 under a constant lr. Two things decide nothing: a decaying lr, which freezes the weights, and
    a run of too few time constants, in which they may have stayed where they began, or be on their way.
    """
    rows = effects[effects["cell"] != TIME_CONSTANTS]
    steady = bool(rows["primary"].any())
    found = beyond(lambda _: 0.0, -1)(rows if steady else rows.assign(primary=True), params)
    elapsed = float(effects.loc[effects["cell"] == TIME_CONSTANTS, "effect"].min())
    if found.verdict == NOT_RUN:
        return found
    note = "seen only under a decaying lr"
    if steady:
        if elapsed >= params.e3.settle_time_constants:
            return found
        note = f"the run lasts only {elapsed:.2g} time constants of the variance"
    return replace(found, verdict=INCONCLUSIVE, note=note)


def null_law(effects: pd.DataFrame, params: AnalyzeParams) -> Verdict:
    """Supported if R's interval lies within the band for every role, and the law's error below no change's.

    All must hold, so support needs no correction; contradicted if after Holm any one is on the other side.
    Seeds that are all alike have an interval of no width: it supports only if the sign test's 2^(1-n) does.
    The effect told is R of the role furthest from 1.
    """
    by_seed = _primary(effects, relative=False)
    allowed = {str(name): _allowed(str(name), params) for name in by_seed}
    outside = [_p_outside(by_seed[name].dropna().to_numpy(), ends) for name, ends in allowed.items()]
    cells = _cells(by_seed, outside, params)
    roles = {name: cell for name, cell in cells.items() if name != AGAINST_NO_CHANGE}
    if not roles or AGAINST_NO_CHANGE not in cells or min(cell.n for cell in cells.values()) < 2:
        return _not_run(effects, np.array([]), cells)
    told_apart = all(_enough(by_seed[name].dropna().to_numpy(), params) for name in cells)
    inside = told_apart and all(allowed[name][0] <= cell.lo and cell.hi <= allowed[name][1]
                                for name, cell in cells.items())
    excluded = any(cell.p_holm < 1 - params.confidence for cell in cells.values())
    verdict = CONTRADICTED if excluded else SUPPORTED if inside else INCONCLUSIVE
    low, high = params.e3.null_band
    worst = max(roles, key=lambda name: max((1 - roles[name].effect) / (1 - low),
                                            (roles[name].effect - 1) / (high - 1)))
    told = Interval(roles[worst].effect, roles[worst].lo, roles[worst].hi, roles[worst].n)
    error = cells[AGAINST_NO_CHANGE]
    closer = f"its |ln std| error minus no change's: {error.effect:.3g} [{error.lo:.3g}, {error.hi:.3g}]"
    alike = ALIKE * (not told_apart)
    return _verdict(verdict, told, cells, *filter(None, [f"R of {worst}, the role furthest from 1", closer,
                                                         alike, *_notes(effects)]))


def _allowed(cell: str, params: AnalyzeParams) -> tuple[float, float]:
    if cell == AGAINST_NO_CHANGE:
        return -np.inf, 0.0
    low, high = params.e3.null_band
    return low, high


def _p_outside(values: Floats, allowed: tuple[float, float]) -> float:
    """p value of the mean being outside the allowed range: against its nearer end; 1 while it is inside."""
    if len(values) < 2:
        return float("nan")
    low, high = allowed
    mean = values.mean()
    return 1.0 if low <= mean <= high else p_value(values - (low if mean < low else high))


def _primary(effects: pd.DataFrame, relative: bool) -> pd.DataFrame:
    """Seeds x primary cells; cells without any value (left out) are dropped."""
    primary = effects[effects["primary"].astype(bool)]
    return _by_seed(primary, primary["effect"] / primary["predicted"] if relative else primary["effect"])


def _by_seed(rows: pd.DataFrame, values: "pd.Series[float]") -> pd.DataFrame:
    table = rows.assign(value=values.astype(float)).pivot(index="seed", columns="cell", values="value")
    table.columns = table.columns.astype(str)
    return table.replace([np.inf, -np.inf], np.nan).dropna(axis=1, how="all")


def _interval(values: Floats, params: AnalyzeParams) -> Interval:
    return interval(values, params.confidence, params.bootstrap, params.seed)


def _cells(by_seed: pd.DataFrame, p_values: list[float], params: AnalyzeParams) -> dict[str, Cell]:
    adjusted = holm(p_values)
    found = {name: _interval(column.dropna().to_numpy(), params) for name, column in by_seed.items()}
    return {str(name): Cell(i.mean, i.lo, i.hi, i.n, float(p))
            for (name, i), p in zip(found.items(), adjusted, strict=True)}


def _not_run(effects: pd.DataFrame, pooled: Floats, cells: dict[str, Cell]) -> Verdict:
    if effects.empty:
        return Verdict(NOT_RUN, note="no such measurement")
    effect = float(pooled.mean()) if len(pooled) else float("nan")
    note = "; ".join(["needs two seeds", *_notes(effects)])
    return Verdict(NOT_RUN, effect, n=len(pooled), note=note, cells=cells)


def _notes(effects: pd.DataFrame) -> list[str]:
    """Every note once; a seed's may hold several."""
    return sorted({part for note in effects["note"] for part in str(note).split("; ") if part})


def _verdict(verdict: str, found: Interval, cells: dict[str, Cell], *notes: str) -> Verdict:
    return Verdict(verdict, found.mean, found.lo, found.hi, found.n, "; ".join(notes), cells)
