"""Each test that two pages name is there: `pytest -m reliability` runs those with °, `pytest` the rest."""

import re

import pytest

from imports import ROOT

PAGES = ("promises.md", "when-something-goes-wrong.md")
TEXT = "".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in PAGES)
NAMED = re.findall(r"`([\w/]*test_\w+\.py)::(\w+)`(°?)", TEXT)


@pytest.mark.parametrize(("file", "test", "mark"), sorted(set(NAMED)))
def test_a_promise_s_test_is_there_and_marked_as_told(file, test, mark):
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    found = re.search(rf"((?:^\S.*\n|^ .*\n)*)^def {test}\(", text, re.MULTILINE)
    assert found, f"{file} has no {test}"
    decorators = found[1].rpartition("\n\n")[2]
    long = "@pytest.mark.reliability" in decorators or "pytestmark = pytest.mark.reliability" in text
    assert long == bool(mark)
    assert long or "@pytest.mark.slow" not in decorators


def test_each_line_of_a_table_names_a_test():
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.endswith(" test |")]
    assert len(rows) > 20
    assert all("::" in row for row in rows)
