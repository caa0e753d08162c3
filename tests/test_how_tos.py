"""Every command of docs/how-to runs in a fresh clone and prints what the page shows."""

import json
import re
import shlex
import shutil

import pytest
from dvc.cli import parse_args

import how_tos
from imports import ROOT
from study.base import params

README = ROOT / "README.md"


def named(page):
    return str(page.relative_to(ROOT))


def overrides(command):
    """The params that a DVC command sets; DVC's own parser fails for a command or option that it has not."""
    words = shlex.split(command, comments=True)
    return getattr(parse_args(words[1:]), "set_param", None) or [] if words[:1] == ["dvc"] else []


@pytest.mark.parametrize("page", [README, how_tos.START, *how_tos.PAGES], ids=named)
def test_commands_are_dvc_s_and_set_params_that_exist(page):
    assert how_tos.commands(page)
    for override in (each for command in how_tos.commands(page) for each in overrides(command)):
        place = params.load(ROOT / "params.yaml")
        *sections, key = override.partition("=")[0].split(".")
        for name in sections:
            place = place[name.removeprefix("+")]
        assert (key in place) != override.startswith("+"), override


def test_six_pages_each_on_the_start_page():
    assert len(how_tos.PAGES) == 6
    assert all(f"({page.name})" in how_tos.START.read_text() for page in how_tos.PAGES)


def columns():
    """The claims, and the columns of `dvc exp show`: all of metrics, and two of files."""
    tables = {file.stem: json.loads(file.read_text()) for file in (ROOT / "metrics").glob("*.json")}
    claims = tables.pop("claims")
    del tables["claims_detail"]  # not declared as metrics
    fields = {f"{claim}.{field}" for claim, fields in claims.items() for field in fields}
    return claims, fields.union(*tables.values()) | {"data/raw", "src/variance_dynamics/base/rows.py"}


def test_the_readme_s_table_of_experiments_holds_about_25_numbers_and_no_file():
    (command,) = [each for each in how_tos.commands(README) if each.startswith("dvc exp show")]
    given = parse_args(shlex.split(command)[1:])
    claims, names = columns()
    dropped = "|".join(given.drop)  # joined and matched as DVC does it
    left = {name for name in names if not re.match(dropped, name)}
    numbers = {name for name in left if not name.endswith(".verdict")}
    assert {f"{claim}.effect" for claim in claims} | {"e3_val_loss"} <= numbers
    assert len(numbers) <= 25 and not any("/" in name for name in left)


@pytest.fixture(scope="module")
def started(smoke, tmp_path_factory):
    return how_tos.started(tmp_path_factory.mktemp("start") / "variance-dynamics", smoke / ".dvc" / "cache")


@pytest.mark.slow
def test_the_start_page_prints_what_it_shows(started):
    _, real = started
    wrong = how_tos.disagreements(how_tos.START, real)
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("page", how_tos.PAGES, ids=named)
def test_a_page_s_commands_run_and_print_what_it_shows(page, started, tmp_path, request):
    if "~/Downloads" in page.read_text():
        how_tos.download(request.getfixturevalue("shared_data"), tmp_path)
    clone = shutil.copytree(started[0], tmp_path / "variance-dynamics", symlinks=True)
    wrong = how_tos.disagreements(page, how_tos.printed(how_tos.commands(page), clone, tmp_path))
    assert not wrong, "\n".join(wrong)
