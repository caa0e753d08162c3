"""Verdicts: how a claim's rule turns effects into supported, contradicted, inconclusive or not run.

The effects of all claims are one table with the columns COLUMNS, a row per claim, cell and seed. The unit of
replication is the seed: its effect is its mean over the claim's primary cells, which are fixed beforehand,
and one interval over seeds decides. Single cells are tested only as a guard (Holm), never as replicates.
Cells that are not primary are exploratory: they are reported and decide nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from study.analysis.params import AnalyzeParams
from study.analysis.statistics import Floats, Interval, alike, holm, interval, p_value

SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_RUN = "supported", "contradicted", "inconclusive", "not run"
COLUMNS = ["claim", "cell", "primary", "seed", "effect", "predicted", "note"]
AGAINST_NO_CHANGE = "error"
"""Cell of the null law's claim: |ln error| of the law minus that of "no change"."""
ALIKE = "all seeds alike, and too few to tell"
TIME_CONSTANTS = "time constants"
"""Cell of the narrow bands' claim that is not judged: 2 sum lr wd, the time constants that the run lasts."""


def no_effects() -> pd.DataFrame:
    """The effects of an experiment that was not run."""
    return pd.DataFrame(columns=COLUMNS)


def primary_effects(claim: str, rows: pd.DataFrame, by: list[str], most: int) -> pd.DataFrame:
    """The effects of a claim in cells that are fixed beforehand, one cell per combination of `by`.

    rows: the columns `by`, seed, effect and, where they apply, predicted and note. A row that is left out has
    the effect nan and a note that says so. A seed's effect in a cell is the mean over its rows there. The
    first `most` cells, in sorted order, are primary.
    """
    if rows.empty:
        return no_effects()
    cells = _in_cells(claim, rows, by)
    return cells.assign(primary=cells.groupby("cell", sort=False).ngroup() < most)[COLUMNS]


def exploratory_effects(claim: str, rows: pd.DataFrame, by: list[str], suffix: str = "") -> pd.DataFrame:
    """The effects of a claim that are reported but not judged, in cells as `primary_effects` makes them.

    They carry no notes. `suffix` is added to the names of the cells.
    """
    if rows.empty:
        return no_effects()
    cells = _in_cells(claim, rows, by)
    return cells.assign(cell=cells["cell"] + suffix, primary=False, note="")[COLUMNS]


def _in_cells(claim: str, rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The rows pooled to one per cell and seed, with the claim's id and the cell's name."""
    missing = {name: value for name, value in (("predicted", float("nan")), ("note", "")) if name not in rows}
    rows = rows.assign(**missing)
    kept = rows.assign(predicted=rows["predicted"].where(rows["effect"].notna()))
    pooled = kept.groupby([*by, "seed"], sort=True).agg(
        effect=("effect", "mean"), predicted=("predicted", "mean"),
        note=("note", lambda notes: "; ".join(distinct_notes(notes)))).reset_index()
    return pooled.assign(claim=claim, cell=cell_names(pooled, by))


def cell_names(rows: pd.DataFrame, by: list[str]) -> "pd.Series[str]":
    """The name of each row's cell: its values of `by`, with L before a depth and n before a width."""
    letters = {"depth": "L", "width": "n"}
    names, *others = (letters.get(name, "") + rows[name].astype(str) for name in by)
    for other in others:
        names = names + "/" + other
    return names


def distinct_notes(notes: "pd.Series[str]") -> list[str]:
    """Every note once, sorted. One row's note may hold several, separated by "; "."""
    return sorted({part for note in notes for part in str(note).split("; ") if part})


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
    """The verdict of a rule: the effect with its interval over n seeds, a note, and the primary cells."""

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
    """A claim and the rule that decides it.

    rule: a template over the sections of AnalyzeParams, so that text and code share their thresholds.
    changed: how the rule, or what it reads, changed after results were seen; the verdict's note says so.
    aside: endings of exploratory cells, each with how these cells differ; the note gives their mean.
    needs: a template for what must have been run, where not every run of the experiment has it.
    """

    origin: str
    sentence: str
    effect: str
    rule: str
    decide: Rule
    changed: str = ""
    aside: dict[str, str] = field(default_factory=dict)
    needs: str = ""

    def judge(self, effects: pd.DataFrame, params: AnalyzeParams) -> Verdict:
        """The rule's verdict. Its note is followed by what the exploratory cells show."""
        verdict = self.decide(effects, params)
        asides = [_aside(effects, ending, words, params) for ending, words in self.aside.items()]
        changed = self.changed and f"changed after looking: {self.changed}"
        is_missing = self.needs and verdict.verdict == NOT_RUN and not effects["primary"].any()
        note = f"needs {_filled(self.needs, params)}, which was not run" if is_missing else verdict.note
        return replace(verdict, note="; ".join(filter(None, [note, changed, *asides])))

    def rule_text(self, params: AnalyzeParams) -> str:
        return _filled(self.rule, params)


def _filled(template: str, params: AnalyzeParams) -> str:
    return template.format(e1=params.e1, e2=params.e2, e3=params.e3)


def beyond(threshold: Threshold, sign: int, relative: bool = False) -> Rule:
    """A rule: supported if the interval lies wholly beyond the threshold, above it for sign 1, below for -1.

    Contradicted is the mirror image, anything else is inconclusive. A cell on the other side after Holm makes
    either of them inconclusive. Seeds that are all alike have an interval of no width: they decide only if
    the sign test's 2^(1-n) is small enough. A cell in which they are all alike lies on its side without a
    test, and can only veto a verdict. A seed that lacks a cell is dropped.

    relative: a seed's effect is divided by the effect that theory predicts for it.
    """

    def decide(effects: pd.DataFrame, params: AnalyzeParams) -> Verdict:
        bar = threshold(params)
        by_seed = _primary(effects, relative)
        cells = _cells(by_seed, [p_value(column.dropna() - bar) for _, column in by_seed.items()], params)
        pooled = _complete_seeds(by_seed)
        if len(pooled) < 2:
            return _not_run(effects, pooled, cells)
        mean = _interval(pooled, params)
        sides = {name: int(np.sign(sign * (cell.effect - bar))) for name, cell in cells.items()
                 if cell.p_holm < 1 - params.confidence or alike(by_seed[name].dropna())}
        low, high = sorted((sign * (mean.lo - bar), sign * (mean.hi - bar)))
        enough = _enough(pooled, params)
        verdict = (SUPPORTED if enough and low > 0 and -1 not in sides.values() else
                   CONTRADICTED if enough and high < 0 and 1 not in sides.values() else INCONCLUSIVE)
        lost = len(by_seed) - len(pooled)
        return _verdict(verdict, mean, cells, _sides_note(sides, cells, params), ALIKE * (not enough),
                        f"{lost} seeds lack a cell and are dropped" * (lost > 0),
                        *distinct_notes(effects["note"]))

    return decide


def _enough(pooled: Floats, params: AnalyzeParams) -> bool:
    """Whether the values differ, or are so many that they agree by more than accident (the sign test's p)."""
    return not alike(pooled) or 2.0 ** (1 - len(pooled)) <= 1 - params.confidence


def _aside(effects: pd.DataFrame, ending: str, words: str, params: AnalyzeParams) -> str:
    """The mean over the exploratory cells of that ending, with its interval over seeds, as a note."""
    rows = effects[effects["cell"].astype(str).str.endswith(ending) & ~effects["primary"].astype(bool)]
    pooled = _complete_seeds(_by_seed(rows, rows["effect"]))
    if not len(pooled):
        return ""
    mean = _interval(pooled, params)
    return f"exploratory, {words}: {mean.mean:.2g} [{mean.lo:.2g}, {mean.hi:.2g}]"


def _sides_note(sides: dict[str, int], cells: dict[str, Cell], params: AnalyzeParams) -> str:
    """A note that lists the cells for the claim, against it, and those that lie clearly on neither side."""
    names: dict[int, list[str]] = {1: [], -1: [], 0: []}
    for name, cell in cells.items():
        side = sides.get(name, 0)
        alike = side and cell.p_holm >= 1 - params.confidence
        names[side].append(f"{name} (all seeds alike)" if alike else name)
    words = {1: "for it", -1: "against it", 0: "neither"}
    lists = [f"{word}: {', '.join(names[side]) or 'no cell'}" for side, word in words.items()]
    return f"after Holm {', '.join(lists)}"


def settled(effects: pd.DataFrame, params: AnalyzeParams) -> Verdict:
    """The rule of the narrow bands: the effect is at most 0 under a constant lr.

    Two kinds of run decide nothing: one with a decaying lr, which freezes the weights, and one of too few
    time constants, in which the weights may not have left their start, or may still be on their way.
    """
    rows = effects[effects["cell"] != TIME_CONSTANTS]
    steady = bool(rows["primary"].any())
    verdict = beyond(lambda _: 0.0, -1)(rows if steady else rows.assign(primary=True), params)
    elapsed = float(effects.loc[effects["cell"] == TIME_CONSTANTS, "effect"].min())
    if verdict.verdict == NOT_RUN or (steady and elapsed >= params.e3.settle_time_constants):
        return verdict
    note = (f"the run lasts only {elapsed:.2g} time constants of the variance" if steady
            else "seen only under a decaying lr")
    return replace(verdict, verdict=INCONCLUSIVE, note=note)


def null_law(effects: pd.DataFrame, params: AnalyzeParams) -> Verdict:
    """The rule of the null law: R's interval lies within the band for every role, the law beats no change.

    All of it must hold, so support needs no correction. It is contradicted if, after Holm, any one part is on
    the other side. Seeds that are all alike have an interval of no width, which supports only if the sign
    test's 2^(1-n) is small enough. The verdict's effect is R of the role furthest from 1.
    """
    by_seed = _primary(effects, relative=False)
    allowed = {str(name): _allowed(str(name), params) for name in by_seed}
    outside = [_p_outside(by_seed[name].dropna().to_numpy(), ends) for name, ends in allowed.items()]
    cells = _cells(by_seed, outside, params)
    roles = {name: cell for name, cell in cells.items() if name != AGAINST_NO_CHANGE}
    if not roles or AGAINST_NO_CHANGE not in cells or min(cell.n for cell in cells.values()) < 2:
        return _not_run(effects, np.array([]), cells)
    enough = all(_enough(by_seed[name].dropna().to_numpy(), params) for name in cells)
    inside = enough and all(allowed[name][0] <= cell.lo and cell.hi <= allowed[name][1]
                            for name, cell in cells.items())
    excluded = any(cell.p_holm < 1 - params.confidence for cell in cells.values())
    verdict = CONTRADICTED if excluded else SUPPORTED if inside else INCONCLUSIVE
    furthest = max(roles, key=lambda name: _distance(roles[name].effect, params))
    ratio, error = roles[furthest], cells[AGAINST_NO_CHANGE]
    closer = f"its |ln std| error minus no change's: {error.effect:.3g} [{error.lo:.3g}, {error.hi:.3g}]"
    return _verdict(verdict, Interval(ratio.effect, ratio.lo, ratio.hi, ratio.n), cells,
                    f"R of {furthest}, the role furthest from 1", closer, ALIKE * (not enough),
                    *distinct_notes(effects["note"]))


def _distance(ratio: float, params: AnalyzeParams) -> float:
    """Distance of R from 1, in units of the distance of the band's end on that side."""
    low, high = params.e3.null_band
    return max((1 - ratio) / (1 - low), (ratio - 1) / (high - 1))


def _allowed(cell: str, params: AnalyzeParams) -> tuple[float, float]:
    if cell == AGAINST_NO_CHANGE:
        return -np.inf, 0.0
    low, high = params.e3.null_band
    return low, high


def _p_outside(values: Floats, allowed: tuple[float, float]) -> float:
    """p value for a mean outside the allowed range, tested against the nearer end; 1 while it is inside."""
    if len(values) < 2:
        return float("nan")
    low, high = allowed
    mean = values.mean()
    return 1.0 if low <= mean <= high else p_value(values - (low if mean < low else high))


def _primary(effects: pd.DataFrame, relative: bool) -> pd.DataFrame:
    """Effects of the primary cells, seeds x cells. A cell without any value was left out and is dropped."""
    primary = effects[effects["primary"].astype(bool)]
    return _by_seed(primary, primary["effect"] / primary["predicted"] if relative else primary["effect"])


def _by_seed(rows: pd.DataFrame, values: "pd.Series[float]") -> pd.DataFrame:
    table = rows.assign(value=values.astype(float)).pivot(index="seed", columns="cell", values="value")
    table.columns = table.columns.astype(str)
    return table.replace([np.inf, -np.inf], np.nan).dropna(axis=1, how="all")


def _complete_seeds(by_seed: pd.DataFrame) -> Floats:
    """Mean over cells of each seed that has a value in all of them."""
    return np.asarray(by_seed.mean(axis=1, skipna=False).dropna().to_numpy())


def _interval(values: Floats, params: AnalyzeParams) -> Interval:
    return interval(values, params.confidence, params.bootstrap, params.seed)


def _cells(by_seed: pd.DataFrame, p_values: list[float], params: AnalyzeParams) -> dict[str, Cell]:
    means = {str(name): _interval(column.dropna().to_numpy(), params) for name, column in by_seed.items()}
    return {name: Cell(mean.mean, mean.lo, mean.hi, mean.n, float(p))
            for (name, mean), p in zip(means.items(), holm(p_values), strict=True)}


def _not_run(effects: pd.DataFrame, pooled: Floats, cells: dict[str, Cell]) -> Verdict:
    if effects.empty:
        return Verdict(NOT_RUN, note="no such measurement")
    effect = float(pooled.mean()) if len(pooled) else float("nan")
    reason = "needs two seeds" if cells else "no seed has a number for it"
    note = "; ".join([reason, *distinct_notes(effects["note"])])
    return Verdict(NOT_RUN, effect, n=len(pooled), note=note, cells=cells)


def _verdict(verdict: str, mean: Interval, cells: dict[str, Cell], *notes: str) -> Verdict:
    return Verdict(verdict, mean.mean, mean.lo, mean.hi, mean.n, "; ".join(filter(None, notes)), cells)
