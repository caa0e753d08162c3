"""A claim's effects: one long table, a row per claim, cell and seed, for `claims` to judge."""

import pandas as pd

from study.analysis.verdicts import COLUMNS


def none() -> pd.DataFrame:
    """The effects of an experiment that was not run."""
    return pd.DataFrame(columns=COLUMNS)


def primary(claim: str, rows: pd.DataFrame, by: list[str], most: int) -> pd.DataFrame:
    """Cells fixed beforehand: one per combination of `by`, a seed's effect the mean over all else in `rows`.

    rows: by, seed, effect and, where they apply, predicted and note (why a row is left out: its effect is
    nan, and the note names it). The first `most` cells are primary, in their sorted order.
    """
    if rows.empty:
        return none()
    rows = _complete(rows)
    kept = rows.assign(predicted=rows["predicted"].where(rows["effect"].notna()))
    pooled = kept.groupby([*by, "seed"], sort=True).agg(
        effect=("effect", "mean"), predicted=("predicted", "mean"),
        note=("note", _all)).reset_index()
    found = _named(claim, pooled, by)
    return found.assign(primary=found.groupby("cell", sort=False).ngroup() < most)[COLUMNS]


def exploratory(claim: str, rows: pd.DataFrame, by: list[str], suffix: str = "") -> pd.DataFrame:
    """Single cells, told but not judged (so without notes): by, seed and effect, one per cell and seed."""
    if rows.empty:
        return none()
    found = _named(claim, _complete(rows), by)
    return found.assign(cell=found["cell"] + suffix, primary=False, note="")[COLUMNS]


def _all(notes: "pd.Series[str]") -> str:
    """Every note once; one may hold several."""
    return "; ".join(sorted({part for note in notes for part in note.split("; ") if part}))


def _complete(rows: pd.DataFrame) -> pd.DataFrame:
    missing = {name: value for name, value in (("predicted", float("nan")), ("note", "")) if name not in rows}
    return rows.assign(**missing)


def _named(claim: str, rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    letters = {"depth": "L", "width": "n"}
    parts = [letters.get(name, "") + rows[name].astype(str) for name in by]
    return rows.assign(claim=claim, cell=["/".join(words) for words in zip(*parts, strict=True)])
