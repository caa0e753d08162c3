"""Run every benchmark, write benchmarks/results.json, and put tables of it into pages: `make bench`.

`python benchmarks/run.py sweep growth` runs some and keeps the other rows as they are, if they are of the
same machine and versions.
"""

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import machines
from pages import with_table

from variance_dynamics.base.machine import processor

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
BENCHES = ("sweep", "gpt2_step", "tracking", "growth", "stages")
LONG = ("study",)
"""Run only if they are named."""
PACKAGES = ("torch", "numpy", "jax", "jaxlib", "transformers", "tokenizers", "pandas")
Row = dict[str, Any]


def main(chosen: list[str]) -> None:
    rows = comparable(earlier())
    for name in chosen or BENCHES:
        started = time.perf_counter()
        found = [{"script": name, **row} for row in run(name)]
        rows = sorted([*found, *(row for row in rows if row["script"] != name)], key=place)
        write({"machine": machine(), "versions": versions(), "rows": rows})
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    print(markdown(earlier()))


def comparable(results: dict[str, Any]) -> list[Row]:
    """The rows, unless another machine or other versions made them: the table names one."""
    known: list[Row] = results["rows"]
    here = {"machine": machine(), "versions": versions()}
    if known and any(results.get(key) != value for key, value in here.items()):
        told = "left out; a copy of it in benchmarks/elsewhere/ keeps it in NOTES.md's table"
        print(f"{RESULTS.name} is of another machine or versions: {told}", file=sys.stderr)
        return []
    return known


def place(row: Row) -> int:
    return (*BENCHES, *LONG).index(row["script"])


def write(results: dict[str, Any]) -> None:
    """After each script, so that a later one that fails loses nothing."""
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for page, name, table in tables(results):
        page.write_text(with_table(page.read_text(encoding="utf-8"), name, table), encoding="utf-8")


def tables(results: dict[str, Any]) -> list[tuple[Path, str, str]]:
    """Pages, the names of the marks in them, and what they show of results there."""
    return [(ROOT / "README.md", "bench", markdown(results)),
            (ROOT / "benchmarks" / "NOTES.md", "machines", machines.table(machines.known(results)))]


def run(name: str) -> list[Row]:
    """A script's rows; it is a process of its own, so that no benchmark sees another's threads or memory."""
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py")]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: list[Row] = json.loads(done.stdout)
    return found


def earlier() -> dict[str, Any]:
    """The results as they are written, without rows where there are none."""
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else '{"rows": []}'
    found: dict[str, Any] = json.loads(text)
    return found


def machine() -> dict[str, Any]:
    """What a rate depends on: processor, cores that we may use, memory in GB."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {"processor": processor(), "cores": cores, "memory_gb": round(memory), "system": platform.system()}


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def markdown(results: dict[str, Any]) -> str:
    """The README's table, from results alone."""
    about, told = results["machine"], results["versions"]
    head = (f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB; "
            + ", ".join(f"{name} {told[name]}" for name in ("python", "torch", "jax", "transformers"))
            + ". Medians over interleaved rounds, with the lowest and the highest; stages, corpus and the "
            "whole study ran once.")
    lines = [head, "", "| benchmark | shape | what | measured | ours against it |", "|---|---|---|---|---|"]
    for row in results["rows"]:
        cells = (row["bench"], row["shape"], row["peer"], measured(row), ratio(row))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def measured(row: Row) -> str:
    """What a row found, in words."""
    if "median" not in row:
        found = f"{row['mb_per_s']} MB/s, " if "mb_per_s" in row else ""
        found += f"{row['seconds']} s"
        found += f" in {row['runs']} runs" if row.get("runs", 1) > 1 else ""
        return found + (f", at most {row['peak_mb']} MB of memory" if "peak_mb" in row else "")
    found = f"{between(row)} {row['unit']}"
    found += f", {row['share']:.0%} of the products' rate" if "share" in row else ""
    found += f", compiles in {row['compile_seconds']:.0f} s" if "compile_seconds" in row else ""
    return found + (f", which pays from {row['pays_from_steps']:,} steps" if "pays_from_steps" in row else "")


def ratio(row: Row) -> str:
    if row["peer"] == "ours" or "ratio_median" not in row:
        return ""
    compiled = f", compiled {between(row, 'compiled_ratio_')} x" if "compiled_ratio_median" in row else ""
    return f"{between(row, 'ratio_')} x{compiled}"


def between(row: Row, prefix: str = "") -> str:
    median, low, high = (f"{row[prefix + name]:,.4g}" if abs(row[prefix + name]) < 1e4
                         else f"{row[prefix + name]:,.0f}" for name in ("median", "low", "high"))
    return f"{median} [{low}, {high}]"


if __name__ == "__main__":
    main(sys.argv[1:])
