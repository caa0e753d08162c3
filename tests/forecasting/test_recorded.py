"""Recorded runs that follow the law, and that do not."""

import json

import numpy as np
import pandas as pd
import pytest

from reliability.damaged_files import damaged
from variance_dynamics.base.errors import BadInput
from variance_dynamics.forecasting.forecast import TrainingSchedule
from variance_dynamics.forecasting.recorded import compare, forecast_of
from variance_dynamics.forecasting.report import to_json, to_text
from variance_dynamics.forecasting.std_table import read_std
from variance_dynamics.theory import null_law

RUN = {"lr": 1e-3, "steps": 400, "schedule": "cosine", "warmup_steps": 20, "weight_decay": 0.1,
       "min_lr_ratio": 0.1}
SCHEDULE = TrainingSchedule(1e-3, 400, "cosine", 20, 0.1, 0.1)
LEFT, NOISE = null_law.decay(SCHEDULE.rates, 0.1), null_law.injected(SCHEDULE.rates, 0.1)
RATIOS = {"q": (1.0, 1.1), "k": (0.1, 0.3), "v": (-0.5, -0.2), "mlp_in": (1.0, 0.4, 0.9), "mlp_out": (2.0,),
          "attn_out": (0.1, 1.0, 3.0)}


def weights(steps=(0, 50, 400)):
    """A table as pretraining writes it, in which role and layer have the ratio R of RATIOS."""
    rows = []
    for role, ratios in RATIOS.items():
        for layer, ratio in enumerate(ratios, start=1):
            std = np.sqrt((0.02 * LEFT) ** 2 + ratio * NOISE)
            rows += [("gpt2", 0, step, layer, role, "std", std[step]) for step in steps]
            rows += [("gpt2", 0, step, layer, role, "mean", 9.0) for step in steps]
    return pd.DataFrame(rows, columns=["arm", "seed", "step", "layer", "role", "stat", "value"])


@pytest.fixture
def run(tmp_path):
    weights().to_parquet(tmp_path / "weights.parquet")
    (tmp_path / "run.json").write_text(json.dumps({**RUN, "n_layer": 3}))
    return tmp_path / "weights.parquet"


def test_ratios_come_back_and_verdicts_follow(run):
    made, recorded = forecast_of(str(run), None, {})
    assert recorded is not None
    assert made.schedule == SCHEDULE and made.sigma_0 == pytest.approx(0.02)
    verdicts = {verdict.role: verdict for verdict in recorded.roles}
    assert list(verdicts) == ["q", "k", "v", "attn_out", "mlp_in", "mlp_out"]
    for role, ratios in RATIOS.items():
        row = verdicts[role]
        assert row.ratio == pytest.approx(float(np.median(ratios)))
        assert (row.ratio_low, row.ratio_high) == pytest.approx((min(ratios), max(ratios)))
    assert {role: verdict.verdict for role, verdict in verdicts.items()} == {
        "q": "as the law says", "k": "grows less", "v": "shrinks against the law",
        "mlp_in": "as the law says, but for 1 of 3", "mlp_out": "grows more",
        "attn_out": "scattered around the law"}
    assert recorded.lawful == 5 and recorded.last == 400


def test_no_verdict_before_momentum_has_settled(tmp_path):
    weights(steps=(0, 50)).to_parquet(tmp_path / "early.parquet")
    recorded = compare(read_std(tmp_path / "early.parquet"), SCHEDULE)
    assert all(verdict.verdict.startswith("too early") for verdict in recorded.roles)


def test_two_matrices_of_one_role_in_a_layer_keep_apart(tmp_path):
    """As in a Tracker's table of Llama, whose gate and up are both mlp_in: there it has names."""
    table = weights().query("role == 'mlp_in'")
    table = table.assign(name="mlp." + table.layer.astype(str), layer=1)
    table.drop(columns=["arm", "seed"]).to_parquet(tmp_path / "run.parquet")
    (verdict,) = compare(read_std(tmp_path / "run.parquet"), SCHEDULE).roles
    assert verdict.matrices == 3 and (verdict.ratio_low, verdict.ratio_high) == pytest.approx((0.4, 1.0))


def test_options_go_before_what_the_run_says(run):
    made, _ = forecast_of(str(run), 0.5, {"weight_decay": 0.2})
    assert made.sigma_0 == 0.5 and made.schedule.weight_decay == 0.2 and made.schedule.lr == 1e-3


def test_errors_of_the_law_and_of_no_change(run):
    _, recorded = forecast_of(str(run), None, {})
    assert recorded is not None
    end = weights().query("stat == 'std' and step == 400")["value"]
    law = null_law.std(0.02, SCHEDULE.rates, SCHEDULE.weight_decay)[-1]
    assert recorded.error("predicted") == pytest.approx(np.abs(np.log(law / end)).mean())
    assert recorded.error("initial") == pytest.approx(np.abs(np.log(0.02 / end)).mean())


@pytest.mark.parametrize(("change", "message"), [
    (lambda table: table.drop(columns="role"), "no column role"),
    (lambda table: table[table["step"] > 0], "no std at step 0"),
    (lambda table: table[table["stat"] == "mean"], "no std at step 0"),
    (lambda table: table[table["step"] == 0], "last recorded step is 0"),
    (lambda table: table.replace({"step": {400: 401}}), "last recorded step is 401"),
    (lambda table: pd.concat([table, table.assign(arm="wd_0")]), "arms gpt2, wd_0")])
def test_tables_that_are_no_run(run, change, message):
    change(weights()).to_parquet(run)
    with pytest.raises(BadInput, match=message):
        forecast_of(str(run), None, {})


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: pd.concat([t, t]), "39 of 78 stds repeat a matrix and a step, first step 0"),
    (lambda t: t.assign(name=[None] * len(t), layer=1), "expected one each"),
    (lambda t: t.replace({"step": {50: -50}}), "step is -50 in 13 of 39 rows: expected whole numbers"),
    (lambda t: t.replace({"step": {50: 49.5}}), "step is 49.5 in 13 of 39 rows"),
    (lambda t: t.assign(step=t["step"] > 0), "column step is of type bool: expected numbers"),
    (lambda t: t.assign(step=t["step"].astype(str)), "column step is of type .*: expected numbers"),
    (lambda t: t.assign(step=t["step"].replace(50, np.nan)), "step is nan in 13 of 39 rows"),
    (lambda t: t.assign(value=t["value"].astype(str)), "column value is of type .*: expected numbers"),
    (lambda t: t.assign(value=-t["value"]), "std is -0.0.* in 39 of 39 rows: expected 0 or more"),
    (lambda t: t.assign(role=[None] * len(t)), "role is None in 39 of 39 rows: expected texts"),
    (lambda t: t.assign(role="q" * 2000), "expected texts of at most 1000 characters"),
    (lambda t: t.assign(layer=t["layer"].replace(1, np.nan)), "layer is nan in .* rows: expected a number"),
    (lambda t: t.assign(layer=[[1]] * len(t)), "column layer is of type object: expected numbers"),
    (lambda t: t[(t["step"] == 0) == (t["layer"] == 1)], "no matrix has a std at step 0 and at the last")])
def test_tables_that_would_give_numbers_of_nothing(run, change, message):
    table = weights().query("stat == 'std'")
    change(table).to_parquet(run)
    with pytest.raises(BadInput, match=message) as caught:
        forecast_of(str(run), None, {})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", ["float64", "float32", "Int64", "uint8"])
def test_steps_that_are_whole_numbers_are_steps_whatever_their_type(run, kind):
    steps = weights()["step"].replace(400, 200)
    weights().assign(step=steps.astype(kind)).to_parquet(run)
    _, recorded = forecast_of(str(run), None, {})
    assert recorded is not None and recorded.last == 200


def test_a_name_that_no_row_has_changes_nothing(run):
    _, before = forecast_of(str(run), None, {})
    table = weights()
    table.assign(name=pd.Series([None] * len(table), dtype="object")).to_parquet(run)
    _, after = forecast_of(str(run), None, {})
    assert before is not None and after is not None
    assert after.roles == before.roles and len(after.end) == 13


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_what_is_not_finite_is_counted_and_in_no_verdict(run, value):
    table = weights()
    broken = (table["step"] == 400) & (table["layer"] == 1) & table["role"].isin(["q", "mlp_out"])
    table.loc[broken, "value"] = value
    table.to_parquet(run)
    made, recorded = forecast_of(str(run), None, {})
    assert recorded is not None and recorded.broken == 2 and recorded.exit_code == 1
    verdicts = {verdict.role: verdict.verdict for verdict in recorded.roles}
    assert verdicts["q"] == "as the law says; 1 of 2 NaN or infinite"
    assert "grows more" not in verdicts.values()
    assert verdicts["mlp_out"] == "1 of 1 NaN or infinite"
    assert "2 of 13 matrices have a std that is NaN or infinite" in to_text(made, recorded)
    assert json.loads(to_json(made, recorded))["recorded"]["broken"] == 2


def test_matrices_without_a_start_or_an_end_are_counted(run):
    table = weights()
    no_start = (table["role"] == "mlp_out") & (table["step"] == 0)
    no_end = (table["role"] == "v") & (table["step"] == 400)
    table[~no_start & ~no_end].to_parquet(run)
    made, recorded = forecast_of(str(run), None, {})
    assert recorded is not None and recorded.incomplete == 3 and recorded.exit_code == 1
    assert "3 matrices have no std at step 0 or at step 400" in to_text(made, recorded)


def test_a_matrix_that_starts_at_zero_has_a_ratio_and_no_warning(run):
    table = weights()
    table.loc[(table["role"] == "q") & (table["step"] == 0), "value"] = 0.0
    table.to_parquet(run)
    made, recorded = forecast_of(str(run), None, {})
    assert recorded is not None and recorded.error("initial") == np.inf and recorded.exit_code == 0
    assert json.loads(to_json(made, recorded))["recorded"]["error_no_change"] is None


def test_a_few_bytes_that_unpack_to_a_billion_rows_are_refused(tmp_path):
    rows = 2_000_000
    names = ("step", "layer", "role", "stat", "value")
    table = pd.DataFrame({name: np.zeros(rows, np.int8) for name in names})
    table.to_parquet(tmp_path / "bomb.parquet")
    with pytest.raises(BadInput, match=r"2,000,000 rows in .* bytes: expected at most one a byte"):
        read_std(tmp_path / "bomb.parquet")


def test_roles_from_a_table_are_escaped(run):
    weights().replace({"role": {"q": "\x1b[2Jq\n"}}).to_parquet(run)
    made, recorded = forecast_of(str(run), None, {})
    assert all(line.isprintable() for line in to_text(made, recorded).split("\n"))


def test_damaged_tables_are_read_or_refused(run):
    random, honest, refused = np.random.default_rng(0), run.read_bytes(), 0
    for _ in range(150):
        run.write_bytes(damaged(honest, random))
        try:
            made, recorded = forecast_of(str(run), None, {})
            to_json(made, recorded)
        except BadInput as problem:
            refused += 1
            assert "\n" not in str(problem) and len(str(problem)) < 600
    assert refused > 50


@pytest.mark.parametrize("knobs", [
    {"lr": True}, {"steps": True}, {"steps": [1]}, {"lr": {}}, {"lr": None}, {"schedule": 5},
    {"steps": 10**18},
    '{"lr": 1' + "0" * 400 + "}", '{"lr": NaN}', '{"lr":' * 100_000, "[]"])
def test_knobs_of_another_kind(run, knobs):
    (run.parent / "run.json").write_text(knobs if isinstance(knobs, str) else json.dumps({**RUN, **knobs}))
    with pytest.raises(BadInput, match="expected"):
        forecast_of(str(run), None, {})


def test_files_that_are_no_tables(tmp_path, run):
    with pytest.raises(BadInput, match="no such file"):
        read_std(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(BadInput, match="expected a Parquet table"):
        read_std(tmp_path / "text.parquet")
    (tmp_path / "run.json").write_text("[1")
    with pytest.raises(BadInput, match=r"run\.json"):
        forecast_of(str(run), None, {})
    (tmp_path / "run.json").write_text(json.dumps({**RUN, "lr": "fast"}))
    with pytest.raises(BadInput, match="lr is fast: expected a number"):
        forecast_of(str(run), None, {})


@pytest.mark.parametrize(("std", "options", "message"), [
    (0.02, {"steps": 3}, "--lr is missing"), (0.02, {"lr": 0.1}, "--steps is missing"),
    (None, {"lr": 0.1, "steps": 3}, "--std is missing")])
def test_what_a_forecast_needs(std, options, message):
    with pytest.raises(BadInput, match=message):
        forecast_of(None, std, options)
