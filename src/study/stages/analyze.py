"""Statistics over seeds, predictions and verdicts, of this run and of the recorded runs that params name.

All is written below data/analysis, which DVC caches: a Parquet file for each table, with the rows of all
sources, and in metrics/ the JSON files that a cheaper stage copies to where git tracks them.
"""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from study.analysis import claims, recipes
from study.analysis.params import LOCAL, AnalyzeParams, counted_alike, recorded
from study.analysis.source import Analysis, analyzed
from study.analysis.statistics import significant
from study.base import guard, params
from study.base.labelled import load
from variance_dynamics.base import rows
from variance_dynamics.base.errors import one_line

DATA, OUT = Path("data"), Path("data/analysis")
METRICS = OUT / "metrics"
EXPERIMENTS = ("mlp_sweep", "init_comparison")


def knobs() -> dict[str, Any]:
    """The values in params.yaml that decide the result."""
    tree = params.read()
    return {"analyze": tree["analyze"], "gpt2": {name: tree["gpt2"][name] for name in ("arms", "seeds")}}


@one_line
@guard.unchanged(OUT, knobs, [DATA / name for name in (*EXPERIMENTS, "classification", "recorded")])
def main() -> None:
    tree = params.read()
    rules = params.section(tree, "analyze", AnalyzeParams)
    items = [f"{arm}-{seed}" for arm in tree["gpt2"]["arms"] for seed in tree["gpt2"]["seeds"]]
    folders = {name: recorded(name) for name in rules.recorded}
    for folder in folders.values():
        counted_alike(rules, folder)
    drop_unnamed(DATA / "gpt2", items)
    data = load()
    sources = {LOCAL: analyzed(DATA, rules, data, items)}
    sources |= {name: analyzed(folder, rules, data) for name, folder in folders.items()}
    verdicts = {name: claims.judge(source.effects, rules) for name, source in sources.items()}
    for source in sources.values():
        cells = claims.cells(source.effects, rules)
        source.tables |= {"claims_cells": cells, "recipes": recipes.table(source.tables, rules)}
    origins = {name: origin(folder) for name, folder in folders.items()}
    verdict_files = {"claims": claims.summary(verdicts[LOCAL]),
                     "claims_detail": claims.detail(verdicts, rules, origins)}
    if OUT.is_dir():
        shutil.rmtree(OUT)  # DVC does so too, but a run by hand would leave tables of an earlier one
    write_tables(sources)
    write_metrics(sources[LOCAL].metrics | verdict_files)


def drop_unnamed(folder: Path, items: list[str]) -> None:
    """Remove runs that params no longer name: DVC keeps them, and they would stay in the folder's hash."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name not in [*items, ".gitignore"]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def origin(folder: Path) -> dict[str, Any]:
    """A recorded run's provenance.json, with its parts given by number and commits; empty if it has none."""
    file = folder / "provenance.json"
    if not file.is_file():
        return {}
    provenance: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    parts = provenance["parts"]
    return provenance | {"parts": len(parts),
                         "commits": sorted({part["commit"] or "none" for part in parts.values()})}


def write_tables(sources: dict[str, Analysis]) -> None:
    """Each table of all sources in one file, with the column `source` first."""
    names = sorted({table for source in sources.values() for table in source.tables})
    for name in names:
        parts = [source.tables[name].assign(source=key) for key, source in sources.items()
                 if name in source.tables]
        table = pd.concat(parts, ignore_index=True)
        rows.write(OUT / f"{name}.parquet", significant(table[["source", *table.columns.drop("source")]]))


def write_metrics(metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """Each entry as a JSON file of its name."""
    METRICS.mkdir(parents=True, exist_ok=True)
    for name, content in metrics.items():
        text = json.dumps(plain(dict(content)), indent=2, sort_keys=True) + "\n"
        (METRICS / f"{name}.json").write_text(text, encoding="utf-8")


def plain(value: Any) -> Any:
    """`value` for JSON: numbers with six significant digits, null for what is not finite."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


if __name__ == "__main__":
    main()
