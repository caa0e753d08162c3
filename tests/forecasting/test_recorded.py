"""Recorded runs that follow the law, and that do not."""

import json

import numpy as np
import pandas as pd
import pytest

from variance_dynamics.base.errors import BadInput
from variance_dynamics.forecasting.forecast import TrainingSchedule
from variance_dynamics.forecasting.recorded import compare, forecast_of, read_std
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
