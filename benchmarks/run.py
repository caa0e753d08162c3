"""Run benchmarks, write benchmarks/results.json, and put its numbers into docs/benchmarks.md and README.md.

    python benchmarks/run.py                       the usual ones, as `make bench` does
    python benchmarks/run.py sweep whole_study     these; the other rows stay if they are of the same machine
    python benchmarks/run.py pages                 measure nothing, write the pages from results.json
"""

import json
import subprocess
import sys
import time
from typing import Any

from measure import ROOT, Row, machine, versions

RESULTS = ROOT / "benchmarks" / "results.json"
PAGES = (ROOT / "docs" / "benchmarks.md", ROOT / "README.md")
USUAL = ("sweep", "gpt2_step", "tracking_cost")
SCRIPTS = (*USUAL, "whole_study", "gpu_step")
"""All scripts, in the order of their rows. Those that are not usual run only if they are named."""
Results = dict[str, Any]


def main(names: list[str]) -> None:
    if names == ["pages"]:
        write_pages(known_results())
        return
    rows = comparable(known_results())
    for name in names or USUAL:
        started = time.perf_counter()
        rows = [row for row in rows if row["script"] != name]
        rows = sorted([*rows, *run(name)], key=lambda row: SCRIPTS.index(row["script"]))
        # After each script, so that a later one that fails loses nothing.
        results = {"machine": machine(), "versions": versions(), "rows": rows}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    write_pages(known_results())


def run(name: str) -> list[Row]:
    """A script's rows. It is a process of its own, so that no benchmark sees another's threads or memory."""
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py")]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return [{"script": name, **row} for row in json.loads(done.stdout)]


def known_results() -> Results:
    """What results.json holds; no rows where there is no such file."""
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else '{"rows": []}'
    results: Results = json.loads(text)
    return results


def comparable(results: Results) -> list[Row]:
    """The rows, or none if another machine or other versions made them: a page names one machine."""
    here = {"machine": machine(), "versions": versions()}
    if results["rows"] and any(results[key] != value for key, value in here.items()):
        print(f"{RESULTS.name} is of another machine or versions: its rows are left out", file=sys.stderr)
        return []
    rows: list[Row] = results["rows"]
    return rows


def write_pages(results: Results) -> None:
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8"), results), encoding="utf-8")


def filled(text: str, results: Results) -> str:
    """The text of a page, with what the results say between the marks <!-- NAME --> and <!-- /NAME -->."""
    blocks = {"bench machine": about(results), "bench speed": summary(results["rows"])}
    blocks |= {f"bench {name}": table([row for row in results["rows"] if row["script"] == name])
               for name in SCRIPTS}
    for name, block in blocks.items():
        before, start, rest = text.partition(f"<!-- {name} -->")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}{start}\n{block}\n{end}{after}" if start and end else text
    return text


def about(results: Results) -> str:
    """What the numbers were measured on."""
    here, packages = results["machine"], ("python", "torch", "jax", "transformers")
    known = ", ".join(f"{name} {results['versions'][name]}" for name in packages)
    return f"{here['processor']}, {here['cores']} cores, {here['memory_gb']} GB; {known}."


def summary(rows: list[Row]) -> str:
    """The README's lines: the key ratios; nothing of a benchmark that has not run."""
    by_script: dict[str, dict[str, dict[str, Row]]] = {}
    for row in rows:
        by_script.setdefault(row["script"], {}).setdefault(row["shape"], {})[row["peer"]] = row
    written = {"sweep": sweep_line, "gpt2_step": step_line, "tracking_cost": tracking_line,
               "whole_study": study_line}
    return "\n".join(f"- {line(by_script[name])}" for name, line in written.items() if name in by_script)


def numbers(rows: list[Row], key: str) -> str:
    return ", ".join(f"{row[key]:.0%}" if key == "share" else f"{row[key]:.2f}" for row in rows)


def sweep_line(shapes: dict[str, dict[str, Row]]) -> str:
    names = ", ".join(shape.split()[0] for shape in shapes)
    ours, jax, loop = ([peers[name] for peers in shapes.values()]
                       for name in ("ours", "JAX jit(vmap(scan))", "plain PyTorch loop"))
    return (f"Sweeps of MLPs ({names}): {numbers(jax, 'ratio_median')} times JAX's `jit(vmap(scan))`, "
            f"{numbers(loop, 'ratio_median')} times a plain PyTorch loop; {numbers(ours, 'share')} of the "
            "rate of their matrix products alone.")


def step_line(shapes: dict[str, dict[str, Row]]) -> str:
    names = ", ".join(shape.split(",")[0] for shape in shapes)
    compiled = [[row for name, row in peers.items() if "compiled bf16" in name] for peers in shapes.values()]
    fastest = [max(rows, key=lambda row: row["median"]) for rows in compiled]
    ours = [peers["ours"] for peers in shapes.values()]
    return (f"GPT-2's step ({names}): {numbers(fastest, 'ratio_median')} times the faster of transformers' "
            f"and nanoGPT's model, compiled in bf16, {numbers(fastest, 'compiled_ratio_median')} times where "
            f"ours is compiled too; {numbers(ours, 'share')} of the rate of its matrix products alone.")


def tracking_line(shapes: dict[str, dict[str, Row]]) -> str:
    weights, weights_in_ten, all_kinds, all_in_ten = (peers["ours"]["median"] for peers in shapes.values())
    ratios = [peers["histograms of every parameter"]["ratio_median"] for peers in shapes.values()]
    return (f"Tracking adds to a step: the weights' statistics {weights:.2g}% at every step and "
            f"{weights_in_ten:.2g}% at one in ten, everything {all_kinds:.2g}% and {all_in_ten:.2g}%; "
            f"histograms of every parameter {min(ratios):.1f} to {max(ratios):.1f} times as much.")


def study_line(shapes: dict[str, dict[str, Row]]) -> str:
    (parts,) = shapes.values()
    return (f"The default study takes {parts['all of it']['seconds'] / 60:.0f} minutes, and "
            f"{parts['all of it, nothing to do']['seconds']} s where nothing has changed.")


def table(rows: list[Row]) -> str:
    """Markdown; a shape stands in the first of its rows."""
    if not rows:
        return "Not measured on this machine."
    shapes = [row["shape"] for row in rows]
    first = [shape if shape not in shapes[:place] else "" for place, shape in enumerate(shapes)]
    times = "times what ours adds" if rows[0]["bench"] == "tracking" else "ours over it"
    lines = [["shape", "what", "measured", times], ["---"] * 4]
    lines += [[shape, row["peer"], measured(row), ratio(row)] for shape, row in zip(first, rows, strict=True)]
    with_ratio = any("ratio_median" in row for row in rows)
    return "\n".join(f"| {' | '.join(line if with_ratio else line[1:3])} |" for line in lines)


def measured(row: Row) -> str:
    """What was measured, in words."""
    if "median" not in row:
        return f"{row['seconds']} s" + (f" in {row['runs']} runs" if row["runs"] > 1 else "")
    words = [f"{between(row)} {row['unit']}"]
    if "share" in row:
        words.append(f"{row['share']:.0%} of the products' rate")
    if "compile_seconds" in row:
        words.append(f"compiles in {row['compile_seconds']:.0f} s")
    if "pays_from_steps" in row:
        words.append(f"which pays from {row['pays_from_steps']:,} steps")
    if "peak_gpu_memory_gib" in row:
        words.append(f"at most {row['peak_gpu_memory_gib']} GiB of GPU memory")
    return ", ".join(words)


def ratio(row: Row) -> str:
    if row["peer"] == "ours" or "ratio_median" not in row:
        return ""
    compiled = f", compiled {between(row, 'compiled_ratio_')}" if "compiled_ratio_median" in row else ""
    return f"{between(row, 'ratio_')}{compiled}"


def between(row: Row, prefix: str = "") -> str:
    """Median [low, high], to four digits or whole numbers."""
    median, low, high = (f"{row[prefix + name]:,.4g}" if abs(row[prefix + name]) < 1e4
                         else f"{row[prefix + name]:,.0f}" for name in ("median", "low", "high"))
    return f"{median} [{low}, {high}]"


if __name__ == "__main__":
    main(sys.argv[1:])
