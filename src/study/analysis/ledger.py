"""The claims' verdicts as files and as the README's table."""

from dataclasses import asdict
from typing import Any

from study.analysis.claims import CLAIMS
from study.analysis.params import LOCAL, AnalyzeParams
from study.analysis.verdicts import NOT_RUN, Verdict

COMMON = (
    "The unit of replication is the seed: its effect is its mean over the claim's primary cells, fixed "
    "beforehand, and one {confidence:.0%} interval over seeds decides (Student's t below 10 seeds, bootstrap "
    "from 10 on). A cell that lies on the other side of the threshold after Holm's correction over the "
    "primary cells, or with all seeds alike, bars the verdict; seeds that are all alike in the claim's "
    "effect decide only if 2^(1-n) is at most one minus the confidence. A seed that lacks a cell is dropped. "
    "With one seed, or without the arm, a claim is not run. (What is said of seeds that are all alike, or "
    "lack a cell, came with a review after the first results and changed no verdict.)")
START, END = "<!-- claims -->", "<!-- /claims -->"


def summary(verdicts: dict[str, Verdict]) -> dict[str, dict[str, Any]]:
    """metrics/claims.json: claim id -> verdict, effect, ci_low, ci_high, n."""
    return {name: {"verdict": found.verdict, "effect": found.effect, "ci_low": found.lo, "ci_high": found.hi,
                   "n": found.n} for name, found in verdicts.items()}


def detail(verdicts: dict[str, dict[str, Verdict]], params: AnalyzeParams, origins: dict[str, dict[str, Any]]
           ) -> dict[str, Any]:
    """metrics/claims_detail.json: sentences and rules, and per source the verdict, its note and its cells;
    `origins` says where each recorded run comes from."""
    claims = {name: {"origin": claim.origin, "sentence": claim.sentence, "effect": claim.effect,
                     "rule": claim.rule_text(params),
                     "sources": {source: _told(found[name]) for source, found in verdicts.items()}}
              for name, claim in CLAIMS.items()}
    return {"rule_of_all": COMMON.format(confidence=params.confidence), "claims": claims, "recorded": origins}


def _told(found: Verdict) -> dict[str, Any]:
    return {**summary({"": found})[""], "note": found.note,
            "cells": {name: asdict(cell) for name, cell in found.cells.items()}}


def markdown(found: dict[str, Any]) -> str:
    """The table of claims from claims_detail.json as read: a row per claim, a column per source."""
    claims = {name: found["claims"][name] for name in CLAIMS}
    sources = sorted({source for claim in claims.values() for source in claim["sources"]},
                     key=lambda name: (name != LOCAL, name))
    header = ["claim", "what is measured", *("this run" if name == LOCAL else name for name in sources)]
    lines = [header, ["---"] * len(header)]
    for name, claim in claims.items():
        verdicts = [_verdict(claim["sources"][source]) for source in sources]
        lines.append([f"{claim['sentence']} ({claim['origin']}; `{name}`)", claim["effect"], *verdicts])
    escaped = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _verdict(found: dict[str, Any]) -> str:
    if found["verdict"] == NOT_RUN or found["effect"] is None:
        return str(found["verdict"])
    ends = "" if found["ci_low"] is None else f" [{_number(found['ci_low'])}, {_number(found['ci_high'])}]"
    return f"**{found['verdict']}**: {_number(found['effect'])}{ends}, n = {found['n']}"


def _number(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}"


def in_readme(text: str, found: dict[str, Any]) -> str:
    """`text` with the table between its markers replaced by today's."""
    before, rest = text.split(START, 1)
    _, after = rest.split(END, 1)
    return f"{before}{START}\n{markdown(found)}\n{END}{after}"
