"""Statistics over seeds, predictions and verdicts, of this run and of the recorded runs that params name."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from study.analysis import claims, ledger, recipes
from study.analysis.over_seeds import significant
from study.analysis.params import LOCAL, AnalyzeParams, counted_alike
from study.analysis.source import Found, analyzed
from study.base import params
from study.base.labelled import load
from variance_dynamics.base import rows
from variance_dynamics.base.errors import BadInput, one_line

DATA, OUT, METRICS = Path("data"), Path("data/analysis"), Path("metrics")


@one_line
def main() -> None:
    tree = params.read()
    rules = params.section(tree, "analyze", AnalyzeParams)
    items = [f"{arm}-{seed}" for arm in tree["gpt2"]["arms"] for seed in tree["gpt2"]["seeds"]]
    folders = {name: recorded(name) for name in rules.recorded}
    for folder in folders.values():
        counted_alike(rules, folder)
    drop_unnamed(DATA / "gpt2", items)
    data = load()
    found = {LOCAL: analyzed(DATA, rules, data, items)}
    found |= {name: analyzed(folder, rules, data) for name, folder in folders.items()}
    for source in found.values():
        cells = claims.cells(source.effects, rules)
        source.tables |= {"claims_cells": cells, "recipes": recipes.table(source.tables, rules)}
    write_tables(found)
    verdicts = {name: claims.judge(source.effects, rules) for name, source in found.items()}
    origins = {name: origin(folder) for name, folder in folders.items()}
    metrics = found[LOCAL].metrics | {"claims": ledger.summary(verdicts[LOCAL]),
                                      "claims_detail": ledger.detail(verdicts, rules, origins)}
    for name, content in metrics.items():
        write_json(METRICS / f"{name}.json", content)


def drop_unnamed(folder: Path, items: list[str]) -> None:
    """Remove runs that params no longer name: DVC keeps them, and they would stay in the folder's hash."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name not in [*items, ".gitignore"]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def recorded(name: str) -> Path:
    """The folder of a recorded run; BadInput if there is none."""
    home = DATA / "recorded"
    if not (home / name).is_dir() or Path(name).name != name or name == LOCAL:
        known = ", ".join(sorted(path.name for path in home.glob("*/"))) or "none yet"
        raise BadInput(f"params.yaml: analyze.recorded names {name!r}: expected folders of {home} ({known})")
    return home / name


def origin(folder: Path) -> dict[str, Any]:
    """A recorded run's provenance.json, its parts as their number and commits; empty where it has none."""
    file = folder / "provenance.json"
    if not file.is_file():
        return {}
    told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    commits = sorted({part["commit"] or "none" for part in told["parts"].values()})
    return told | {"parts": len(told["parts"]), "commits": commits}


def write_tables(found: dict[str, Found]) -> None:
    """Each table of all sources in one file, with the column `source` first."""
    names = sorted({table for source in found.values() for table in source.tables})
    for name in names:
        parts = [source.tables[name].assign(source=key) for key, source in found.items()
                 if name in source.tables]
        table = pd.concat(parts, ignore_index=True)
        rows.write(OUT / f"{name}.parquet", significant(table[["source", *table.columns.drop("source")]]))


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain(content), indent=2, sort_keys=True) + "\n", encoding="utf-8")


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
