"""Finished parts as a recorded run: small tables in data/recorded/NAME, and where they came from."""

import json
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from study.analysis import keep
from study.analysis.params import AnalyzeParams
from study.base import params
from study.base import provenance as machine
from study.base.labelled import Labelled, load
from study.recording.parts import CORPUS, E1, E2, E3, Tree
from study.recording.working import Working
from variance_dynamics.base import rows

PROVENANCE = "provenance.json"
APART = ("fingerprint", "machine")
"""What a finished part notes that provenance does not tell of each."""


def write(out: Path, study: str, tree: Tree, works: list[Working]) -> None:
    """Replace `out` by what the finished parts hold; what it held of others is not given up for it."""
    done = [work for work in works if work.done() is not None]
    lost = _lost(out, {work.part.name for work in done})
    if not done or lost:
        told = f"{', '.join(lost)} lie in {out} and not in .full/" if lost else "no part is finished"
        print(f"not recorded: {told}", file=sys.stderr)
        return
    fresh = works[0].home / f"recorded-{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    rules = params.section(tree, "analyze", AnalyzeParams)
    _grids(fresh, rules, done)
    first = tree["gpt2"]["seeds"][0]
    for work in done:
        if work.part.stage == E3:
            _, seed = work.part.arguments
            keep.gpt2(work.out, fresh / "gpt2" / work.out.name, histograms=seed == str(first))
    origin = json.dumps(provenance(study, tree, works), indent=2)
    (fresh / PROVENANCE).write_text(origin + "\n", encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(fresh, out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {len(done)} of {len(works)} parts, {size / 1e6:.1f} MB", file=sys.stderr)


def _lost(out: Path, done: set[str]) -> list[str]:
    """Parts that `out` holds and that are not finished here."""
    file = out / PROVENANCE
    held = json.loads(file.read_text(encoding="utf-8"))["parts"] if file.is_file() else {}
    return sorted(set(held) - done)


def _grids(out: Path, rules: AnalyzeParams, done: list[Working]) -> None:
    """E1 and E2 as one run each, over all their finished parts."""
    for stage in (E1, E2):
        found = [work for work in done if work.part.stage == stage]
        if not found:
            continue
        raw, data = out / "joined" / stage, _data(found)
        joined(found, raw)
        if stage == E1:
            keep.mlp_sweep(raw, out / stage, rules, data)
        else:
            keep.init_comparison(raw, out / stage, rules)
        shutil.rmtree(raw.parent)


def joined(works: list[Working], out: Path) -> None:
    """The tables of several parts of one experiment in one, with runs numbered through."""
    first = 0
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in keep.MLP}
    for work in works:
        found = {name: rows.read(work.out / f"{name}.parquet") for name in keep.MLP}
        for name, table in found.items():
            tables[name].append(table.assign(run=(table["run"] + first).astype(table["run"].dtype)))
        first += len(found["models"])
    for name, each in tables.items():
        rows.write(out / f"{name}.parquet", pd.concat(each, ignore_index=True))


def _data(works: list[Working]) -> dict[str, Labelled]:
    found: dict[str, Labelled] = {}
    for work in works:
        found |= load(work.folder / "data" / "classification")
    return found


def provenance(study: str, tree: Tree, works: list[Working]) -> dict[str, Any]:
    """Where a recorded run came from: `parts` finished, with wall seconds and commit, and those `missing`."""
    found = {work.part.name: work.done() for work in works}
    done = {name: noted for name, noted in found.items() if noted}
    machines = list({json.dumps(noted["machine"]): noted["machine"] for noted in done.values()}.values())
    return {
        "study": study,
        "recorded": {"date": f"{datetime.now(UTC):%Y-%m-%d}", **machine.commit(works[0].root)},
        "machines": machines,
        "versions": machine.versions(),
        "wall_seconds": round(sum(noted["seconds"] for noted in done.values()), 1),
        "parts": {name: {key: value for key, value in noted.items() if key not in APART}
                  for name, noted in done.items()},
        "missing": [name for name, noted in found.items() if not noted],
        "data": data_hashes([work for work in works if work.part.name in done]),
        "params": tree,
    }


def data_hashes(works: list[Working]) -> dict[str, str]:
    """sha256 of each dataset as it was trained on, and of the corpus's text and tokens."""
    found: dict[str, str] = {}
    for work in works:
        folder = work.folder / "data"
        if work.part.stage in (E1, E2):
            manifest = json.loads((folder / "classification" / "manifest.json").read_text(encoding="utf-8"))
            found |= {name: entry["sha256"] for name, entry in manifest.items()}
        if work.part.stage == CORPUS:
            manifest = json.loads((folder / CORPUS / "manifest.json").read_text(encoding="utf-8"))
            found |= {"corpus text": manifest["sha256"], "corpus train tokens": manifest["train"]["sha256"],
                      "corpus val tokens": manifest["val"]["sha256"]}
    return found
