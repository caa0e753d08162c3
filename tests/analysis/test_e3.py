"""E3's tables, effects and metrics from simulated runs whose truth is known."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import adam_noise
from imports import ROOT
from variance_dynamics import params
from variance_dynamics.analysis import claims, e3, e3_claims, e3_metrics, expansion, verdicts
from variance_dynamics.analysis.params import AnalyzeParams
from variance_dynamics.theory import null_law

PARAMS = params.section(params.read(ROOT / "params.yaml"), "analyze", AnalyzeParams)
ARMS = {"gpt2": {}, "std_1": {"std": 0.1}, "std_005": {"std": 0.005}}
SEEDS = 3


def together(*runs):
    return e3.measure(*adam_noise.together(*runs))


def judged(measured):
    return claims.judge(e3_claims.claim_effects(measured, PARAMS), PARAMS)


def deep_still(layer, role):
    """Gradients that are rare below layer 1, so that deep layers expand less."""
    return adam_noise.white if layer == 1 else adam_noise.sparse(0.02)


@pytest.fixture(scope="module")
def measured():
    return together(*(adam_noise.run(arm, seed, steps=200, elements=2000, gradients=deep_still, **knobs)
                      for arm, knobs in ARMS.items() for seed in range(SEEDS)))


@pytest.fixture(scope="module")
def tables(measured):
    return e3.tables(measured, PARAMS)


def test_std_over_seeds_with_the_law_beside_it(measured, tables):
    place = "arm == 'gpt2' and step == 200 and layer == 1 and role == 'k'"
    seeds = measured.frames["weights"].query(f"stat == 'std' and {place}")["value"]
    row = tables["e3_std"].query(place).iloc[0]
    lo, hi = stats.t.interval(0.95, SEEDS - 1, seeds.mean(), stats.sem(seeds))
    assert (row["value"], row["lo"], row["hi"], row["n"]) == pytest.approx((seeds.mean(), lo, hi, SEEDS))
    start = 0.02 * (1 - 1e-4) ** 200
    noise = sum((1e-3 * (1 - 1e-4) ** (199 - i)) ** 2 for i in range(200))
    assert row["predicted"] == pytest.approx(np.sqrt(start**2 + noise), rel=0.03)  # its own initial draw


def test_ratio_and_mechanism_tell_noise_from_sparse_gradients(tables):
    ratio = tables["e3_ratio"].query("arm == 'std_005' and step == 200")
    white, rare = (ratio[ratio["layer"].isin(layers)] for layers in ((1,), (3, 4)))
    assert white["R"].mean() == pytest.approx(1, abs=0.15) and rare["R"].mean() < 0.7
    assert rare["R_over_D"].mean() == pytest.approx(1, abs=0.2)
    assert (ratio["R_lo"] < ratio["R"]).all() and (ratio["R"] < ratio["R_hi"]).all()
    parts = tables["e3_mechanism"]
    assert (parts["size"] + parts["along"]).to_numpy() == pytest.approx(parts["R"].to_numpy(), nan_ok=True)
    assert sorted(parts["horizon"].unique()) == PARAMS.e3.horizons
    causes = tables["e3_causes"].query("arm == 'gpt2'").set_index("cause")["value"]
    assert causes["size_share"] > 0.7 and causes["c2_with_grad_kurtosis"] < -0.5
    assert causes["size_share"] + causes["memory_share"] == pytest.approx(1)


def test_expansion_of_shallow_against_deep_layers(measured, tables):
    rows = measured.matrices.query("arm == 'gpt2' and step == 50")
    layer = rows.groupby("layer")["growth"].mean()
    found = tables["e3_expansion"].query("arm == 'gpt2' and horizon == 0.25 and role == 'qkv'")
    with_first, without = (found[found["without_first"] == flag].iloc[0] for flag in (False, True))
    assert with_first["effect"] == pytest.approx(layer[[1, 2]].mean() - layer[[3, 4]].mean())
    assert without["effect"] == pytest.approx(layer[2] - layer[[3, 4]].mean())
    assert with_first["lo"] > 0


def test_stds_from_both_sides_converge_as_the_law_says(tables):
    last = tables["e3_convergence"].query("arm == 'std_005' and other == 'std_1' and step == 200")
    assert last["predicted"].to_numpy() == pytest.approx((1 - 1e-4) ** 400)
    assert last["left"].to_numpy() == pytest.approx(last["predicted"].to_numpy(), abs=0.01)
    pairs = tables["e3_convergence"][["arm", "other"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["gpt2", "std_1"], ["std_005", "gpt2"], ["std_005", "std_1"]]


def test_the_forecast_beats_the_law_where_updates_repeat():
    """Each gradient comes twice, nearly: D is 2 from the first steps on."""
    runs = [adam_noise.run("gpt2", seed, steps=200, elements=1500, layers=2, std=0.005,
                           gradients=lambda layer, role: adam_noise.echo(0.8)) for seed in range(SEEDS)]
    found = e3.tables(together(*runs), PARAMS)
    errors = found["e3_errors"].query("roles == 'qkv'").iloc[0]
    assert errors["error_forecast"] < 0.5 * errors["error_law"]
    assert errors["forecast_minus_law_hi"] < 0
    row = found["e3_forecast"].query("layer == 1 and role == 'q'").iloc[0]
    assert row["at"] == 10 and row["forecast"] == pytest.approx(row["std"], rel=0.15)
    assert row["error_law"] == pytest.approx(abs(np.log(row["law"] / row["std"])), rel=1e-3)


def test_histograms_are_densities(tables):
    for _, bins in tables["e3_hist"].groupby(["arm", "step", "layer", "role"]):
        assert (bins["density"] * (bins["right"] - bins["left"])).sum() == pytest.approx(1)


def test_effects_and_verdicts_follow(measured):
    effects = e3_claims.claim_effects(measured, PARAMS)
    assert list(effects.columns) == verdicts.COLUMNS
    primary = effects[effects["primary"]].groupby("claim")["cell"].unique().map(sorted).to_dict()
    assert primary == {"e3_shallow_expands_first": ["gpt2/qkv/25%"], "e3_null_law": ["error", "k", "q", "v"]}
    found = judged(measured)
    assert found["e3_shallow_expands_first"].verdict == verdicts.SUPPORTED
    assert found["e3_null_law"].verdict == verdicts.CONTRADICTED
    late = measured.matrices.query("arm == 'gpt2' and step >= 100")
    assert found["e3_null_law"].cells["q"].effect == pytest.approx(late.query("role == 'q'")["R"].mean())
    assert found["e1_regimes"].verdict == verdicts.NOT_RUN


def curve(seed, steps, decay, start, layers=6, noise=1e-3):
    """Raw tables of a run whose stds follow the law to `noise`, with another D in every layer."""
    lr, rng = np.full(steps, 1e-2), np.random.default_rng(seed)
    dumps = np.array(adam_noise.dump_steps(steps))
    stds = [(step, layer, role, stat, value) for layer in range(1, layers + 1) for role in "qkv"
            for step, value in zip(dumps, null_law.std(start, lr, decay, 0.9 + 0.02 * layer)[dumps]
                                   * np.exp(noise * rng.normal(size=len(dumps))), strict=True)
            for stat in ("std", "rms")]
    ids = {"arm": "constant_lr", "seed": seed}
    weights = pd.DataFrame(stds, columns=["step", "layer", "role", "stat", "value"]).assign(**ids)
    losses = pd.DataFrame({"step": np.arange(steps), "stat": "lr", "value": lr}).assign(**ids)
    return {"weights": weights, "losses": losses}, {**ids, "weight_decay": decay, "beta1": 0.9, "std": start}


@pytest.mark.parametrize("how, seeds, verdict", [
    ({"steps": 400, "decay": 1.0, "start": 0.02}, 3, verdicts.SUPPORTED),     # settled after 8 time constants
    ({"steps": 400, "decay": 1.0, "start": 0.07}, 3, verdicts.CONTRADICTED),  # grew by 1%, but layers differ
    ({"steps": 130, "decay": 1.0, "start": 0.02}, 3, verdicts.CONTRADICTED),  # 2.6 of them, still growing
    ({"steps": 100, "decay": 0.1, "start": 0.02}, 3, verdicts.INCONCLUSIVE),  # .2 of them
    ({"steps": 400, "decay": 1.0, "start": 0.02}, 1, verdicts.NOT_RUN)])
def test_narrow_bands_under_a_constant_lr(how, seeds, verdict):
    found = judged(together(*(curve(seed, **how) for seed in range(seeds))))["e3_narrow_bands"]
    assert found.verdict == verdict, found


def test_a_decaying_lr_decides_nothing_about_narrow_bands():
    falling = 1e-3 * np.geomspace(1, 1e-3, 300)
    measured = together(*(adam_noise.run("gpt2", seed, steps=300, layers=2, elements=400, lr=falling)
                          for seed in range(3)))
    found = judged(measured)["e3_narrow_bands"]
    assert (found.verdict, found.n) == (verdicts.INCONCLUSIVE, 3)
    assert found.note == "seen only under a decaying lr"
    assert set(e3.tables(measured, PARAMS)["e3_state"]["state"]) == {"frozen"}


@pytest.mark.parametrize("how, state", [
    ({"steps": 400, "decay": 1.0, "start": 0.02}, "equilibrium"),
    ({"steps": 100, "decay": 0.0, "start": 0.02}, "drifting"),
    ({"steps": 100, "decay": 1e-4, "start": 8.0}, "frozen")])
def test_what_moves_a_matrix(how, state):
    measured = together(*(curve(seed, **how, noise=1e-5) for seed in range(2)))
    moved = expansion.motion(measured.matrices, measured.schedules).iloc[0]
    assert expansion.state(moved["slope"], moved["decay"], moved["noise"], PARAMS.e3.narrow_slope) == state
    assert expansion.state(0.001, -0.001, 0.3, 0.02) == "quiet"
    assert expansion.state(np.nan, -0.001, 0.3, 0.02) == "unknown"


def test_metrics_are_numbers_of_the_main_arm(tables):
    numbers = e3_metrics.metrics(tables, PARAMS)
    final = tables["e3_final"].query("arm == 'gpt2'").set_index("role")
    assert numbers["e3_R_v"] == final.loc["v", "R"]
    assert 10 ** numbers["e3_log10_variance_q"] == pytest.approx(final.loc["q", "std"] ** 2)
    assert {type(value) for value in numbers.values()} <= {float, type(None)}
    assert all(name.startswith("e3_") for name in numbers)
    assert sum(numbers[f"e3_share_{word}"] for word in expansion.STATES) == pytest.approx(1)
    assert json.dumps(numbers, allow_nan=False)


@pytest.mark.parametrize("steps, seeds", [(20, 1), (20, 2), (3, 1)])
def test_short_runs_and_single_seeds_do_not_crash(steps, seeds):
    measured = together(*(adam_noise.run("other", seed, steps=steps, layers=2, elements=50)
                          for seed in range(seeds)))
    tables = e3.tables(measured, PARAMS)
    assert json.dumps(e3_metrics.metrics(tables, PARAMS), allow_nan=False)
    assert {verdict.verdict for verdict in judged(measured).values()} == {verdicts.NOT_RUN}
    if seeds == 1:
        assert tables["e3_std"]["lo"].isna().all() and (tables["e3_std"]["n"] == 1).all()


def test_columns_of_the_tables(tables):
    columns = {name: " ".join(table.columns) for name, table in tables.items()}
    assert columns["e3_std"] == "arm step layer role value lo hi n predicted"
    assert columns["e3_ratio"].startswith("arm step layer role R R_lo R_hi D ")
    assert columns["e3_loss"] == "arm step stat mean lo hi n"
    assert columns["e3_acts"] == "arm step layer value lo hi n"
    assert columns["e3_hist"] == "arm step layer role left right density"
    assert all(len(table) for table in tables.values())
