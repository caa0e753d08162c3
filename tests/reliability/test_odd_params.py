"""Whatever `validate` accepts is trained, analyzed and drawn without a traceback, in studies of a second."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings

from reliability import odd_params
from reliability.test_params_files import validated
from study.analysis.params import LOCAL
from study.analysis.verdicts import NOT_RUN
from study.plotting import report, templates
from study.plotting.charts import charts
from study.plotting.params import Settings
from study.stages import analyze, gpt2_pretrain, init_comparison, mlp_sweep, plot
from variance_dynamics.base import rows

PROPERTY = {"deadline": None, "derandomize": True, "database": None,
            "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, of what is not finite


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd") / "prepared"
    odd_params.prepare(folder)
    return folder


@pytest.fixture
def study(prepared, tmp_path, monkeypatch):
    """Train, analyze and draw the study of a tree in a new folder; returns why `validate` refuses it."""
    monkeypatch.setattr("sys.argv", ["stage"])
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))

    def run(tree, draw):
        folder = tmp_path / "study"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(prepared, folder)
        monkeypatch.chdir(folder)
        odd_params.write(folder, tree)
        status, message = validated(tree, write=False)
        if status:
            assert message.count("\n") == 1 and "expected" in message, message
            return message
        odd_params.run(mlp_sweep)
        odd_params.run(init_comparison)
        for item in odd_params.items(tree):
            odd_params.run(gpt2_pretrain, *item)
        odd_params.run(analyze)
        draw(tree)
        return ""

    return run


def without_pixels(tree):
    """All that `plot` makes but the pictures, which take most of its time."""
    tables = {path.stem: rows.read(path) for path in sorted(plot.TABLES.glob("*.parquet"))}
    setting = Settings.of(tree)
    local = templates.of_source(tables, LOCAL)
    assert charts(local, setting)
    templates.write_rows(local, plot.OUT / "rows", setting)
    report.write(plot.OUT / "report.html", tables, json.loads(plot.DETAIL.read_text()), tree, setting)


def with_pixels(_):
    odd_params.run(plot)


def test_the_least_study_is_analyzed(study):
    assert study(odd_params.least(), without_pixels) == "", "it is accepted"
    claims = json.loads((plot.TABLES / "metrics/claims.json").read_text())
    assert claims["e3_shallow_expands_first"]["verdict"] == claims["e2_kaiming_faster"]["verdict"] == NOT_RUN


@pytest.mark.reliability
@settings(max_examples=5, **PROPERTY)
@given(tree=odd_params.tiny(most=3))
def test_some_odd_studies_are_refused_or_analyzed(study, tree):
    study(tree, without_pixels)


@pytest.mark.reliability
@settings(max_examples=200, **PROPERTY)
@given(tree=odd_params.tiny(most=4))
def test_200_odd_studies_are_refused_or_analyzed(study, tree):
    study(tree, without_pixels)


@pytest.mark.reliability
@settings(max_examples=15, **PROPERTY)
@given(tree=odd_params.tiny(most=2))
def test_odd_studies_are_drawn(study, tree):
    study(tree, with_pixels)
