"""Command `docs`: rewrites the tables of README.md and docs/e3-arms.md that come from results.

Each table stands between two markers, `<!-- NAME -->` and `<!-- /NAME -->`. It is no stage of the pipeline.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from study.analysis import e3
from study.analysis.claims import CLAIMS
from study.analysis.params import LOCAL, AnalyzeParams
from study.analysis.source import gpt2_tables
from study.analysis.verdicts import NOT_RUN
from study.base import params
from variance_dynamics.base.errors import BadInput, one_line
from variance_dynamics.weights.parameter import QKV

DETAIL, RECORDED = "metrics/claims_detail.json", "data/recorded/full-cpu/gpt2"


@one_line
def main() -> None:
    for path, text in pages(Path()).items():
        path.write_text(text, encoding="utf-8")


def pages(root: Path) -> dict[Path, str]:
    """The text that each page should have, from the results in `root`."""
    rules = params.section(params.read(root / params.PATH), "analyze", AnalyzeParams)
    detail = json.loads((root / DETAIL).read_text(encoding="utf-8"))
    measured = e3.measure(*gpt2_tables(sorted((root / RECORDED).glob("*/"))))
    tables = {"README.md": ("claims", claims_table(detail)),
              "docs/e3-arms.md": ("arms", arms_table(e3.final(measured.matrices, rules), rules.e3.arm))}
    return {root / page: replaced((root / page).read_text(encoding="utf-8"), *table)
            for page, table in tables.items()}


def replaced(text: str, name: str, table: str) -> str:
    """`text` with `table` between the markers of that name. Raises BadInput if it lacks one of them."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, first, rest = text.partition(start)
    _, last, after = rest.partition(end)
    if not (first and last):
        raise BadInput(f"a page has no {start} ... {end}: expected the markers of its table")
    return f"{before}{start}\n{table}\n{end}{after}"


def claims_table(detail: dict[str, Any]) -> str:
    """The table of claims from the content of claims_detail.json: a row per claim, a column per source."""
    claims = {name: detail["claims"][name] for name in CLAIMS}
    sources = sorted({source for claim in claims.values() for source in claim["sources"]},
                     key=lambda name: (name != LOCAL, name))
    header = ["claim", "what is measured", *("this run" if name == LOCAL else name for name in sources)]
    lines = [header, ["---"] * len(header)]
    for name, claim in claims.items():
        verdicts = [_verdict(claim["sources"][source]) for source in sources]
        lines.append([f"{claim['sentence']} ({claim['origin']}; `{name}`)", claim["effect"], *verdicts])
    escaped = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _verdict(source: dict[str, Any]) -> str:
    if source["verdict"] == NOT_RUN or source["effect"] is None:
        return str(source["verdict"])
    lo, hi = source["ci_low"], source["ci_high"]
    ends = "" if lo is None else f" [{_number(lo)}, {_number(hi)}]"
    return f"**{source['verdict']}**: {_number(source['effect'])}{ends}, n = {source['n']}"


def _number(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}"


def arms_table(final: pd.DataFrame, main: str) -> str:
    """The table of arms from table e3_final, the main arm first: std, the law's std, and R, of Q, K and V."""
    roles = final.set_index(["arm", "role"])
    lines = ["| arm | Q (law) | K (law) | V (law) | R of Q | R of K | R of V |", "|" + "---|" * 7]
    for arm in sorted(final["arm"].unique(), key=lambda name: (name != main, name)):
        rows = [roles.loc[(arm, role)] for role in QKV]
        stds = [f"{row['std']:.4f} ({row['predicted']:.4f})" for row in rows]
        ratios = [f"{row['R']:.2f} [{row['R_lo']:.2f}, {row['R_hi']:.2f}]" for row in rows]
        lines.append(f"| `{arm}` | {' | '.join([*stds, *ratios])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
