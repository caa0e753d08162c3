"""The processors that have run `make bench`, side by side: results.json and the older ones in elsewhere/.

`run.py` writes the table into NOTES.md; ratios are those of the results, medians over rounds.
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Results = dict[str, Any]
Row = dict[str, Any]
SWEEPS = ("wine", "digits", "mnist")
WIDTHS = ("width 128", "width 256")
HEAD = ("processor", "what", *SWEEPS, *WIDTHS)
NONE = ("",) * len(WIDTHS)


def known(latest: Results) -> list[Results]:
    """Those of elsewhere/ and the latest."""
    files = sorted((HERE / "elsewhere").glob("*.json"))
    return [*(json.loads(file.read_text(encoding="utf-8")) for file in files), latest]


def table(found: list[Results]) -> str:
    """Markdown: for each machine the share of the products' rate, and how many times each peer we are."""
    rows = [HEAD, ("---",) * len(HEAD), *(row for results in found for row in of(results))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def of(results: Results) -> list[tuple[str, ...]]:
    """The rows of one machine; none where it has not run both benchmarks."""
    sweeps = [peers(results, "sweep", shape) for shape in SWEEPS]
    steps = [peers(results, "gpt2 step", shape) for shape in WIDTHS]
    if not all([*sweeps, *steps]):
        return []
    return [
        (results["machine"]["processor"], "of the products' rate",
         *(f"{each['ours']['share']:.0%}" for each in sweeps),
         *(f"{each['ours']['share']:.0%}, compiled {each['ours, compiled']['share']:.0%}" for each in steps)),
        ("", "times JAX; compiled, times the best compiled bf16 peer",
         *(f"{each['JAX jit(vmap(scan))']['ratio_median']:.2f}" for each in sweeps),
         *(f"{min(compiled(each)):.2f}" for each in steps)),
        ("", "times the loop",
         *(f"{each['plain PyTorch loop']['ratio_median']:.3g}" for each in sweeps), *NONE),
        ("", "the products alone, times the loop", *(f"{beyond(each):.3g}" for each in sweeps), *NONE)]


def peers(results: Results, bench: str, shape: str) -> dict[str, Row]:
    """The rows of one shape, by peer."""
    return {row["peer"]: row for row in results["rows"]
            if row["bench"] == bench and row["shape"].startswith(shape)}


def compiled(rows: dict[str, Row]) -> list[float]:
    """Our compiled step in units of each compiled peer's; of medians where no ratio was kept."""
    own = rows["ours, compiled"]["median"]
    return [row.get("compiled_ratio_median", own / row["median"]) for name, row in rows.items()
            if "compiled bf16" in name]


def beyond(rows: dict[str, Row]) -> float:
    """The faster products alone in units of the loop: what no sweep can pass."""
    best = max(row["median"] for name, row in rows.items() if name.startswith("products alone"))
    return float(best / rows["plain PyTorch loop"]["median"])
