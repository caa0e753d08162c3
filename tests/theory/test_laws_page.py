"""docs/laws.md has the table of LAWS, with what the simulation gives; as a script, this writes it there."""

import math
import re

import pytest

from imports import ROOT
from optimizer_noise import CASES, error
from variance_dynamics.theory.laws import LAWS

PAGE = ROOT / "docs" / "laws.md"
TABLE = re.compile(r"(<!-- laws -->\n).*?(<!-- /laws -->)", re.DOTALL)


def test_the_page_says_formula_assumption_and_source_of_each_law():
    rows = TABLE.search(PAGE.read_text(encoding="utf-8"))[0]
    for entry in LAWS.values():
        assert f"| {entry.title} | {entry.formula} | {entry.assumes} | {entry.source} |" in rows


@pytest.mark.slow
def test_the_page_has_the_errors_of_the_simulation():
    assert PAGE.read_text(encoding="utf-8") == written()


def written():
    titles = "| optimizer | update noise | assumes | source | law / simulation − 1 |"
    lines = [titles, "|---|---|---|---|---|"]
    for name, entry in LAWS.items():
        cases = [case for case, (of, *_) in CASES.items() if of == name]
        errors = [f"{math.expm1(error(case, 1000)[-1]):+.1%}" for case in cases]
        lines.append(" | ".join(["", entry.title, entry.formula, entry.assumes, entry.source,
                                 ", ".join(errors) or "-", ""]).strip())
    table = "\n".join(lines)
    return TABLE.sub(lambda found: f"{found[1]}{table}\n{found[2]}", PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
