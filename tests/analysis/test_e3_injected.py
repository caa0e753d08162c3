"""R, D and their parts on simulated AdamW noise in float64, where each is known."""

import numpy as np
import pandas as pd
import pytest

import adam_noise
from study.analysis.e3_injected import NullLaw, laws, measure_run
from variance_dynamics.base.errors import BadInput

STEPS = 400
UPDATE = np.arange(STEPS)
COSINE = np.minimum(1, (UPDATE + 1) / 50) * 1e-3 * (0.55 + 0.45 * np.cos(np.pi * UPDATE / STEPS))


def measured(kind=None, layers=3, **how):
    """Mean over layers and roles, at each dump, of one run with one kind of gradient."""
    (frames, knobs) = adam_noise.run(**{"steps": STEPS, "lr": COSINE, "layers": layers, **how},
                                     gradients=kind and (lambda layer, role: kind))
    frame = measure_run(frames["weights"], laws(frames["losses"], [knobs])["gpt2", 0])
    return frame.drop(columns=["layer", "role"]).groupby("step").mean()


@pytest.fixture(scope="module")
def white():
    return measured()


@pytest.fixture(scope="module")
def steady():
    return measured(adam_noise.steady(0.3))


def test_white_gradients_give_the_law(white):
    late = white.loc[100:]
    assert white["R"].iloc[-1] == pytest.approx(1, abs=0.06)  # Adam's denominator takes 2 to 5%
    assert white["predicted"].to_numpy() == pytest.approx(white["std"].to_numpy(), rel=0.01)
    for name in ("D", "c2", "memory"):
        assert late[name].to_numpy() == pytest.approx(1, abs=0.06), name
    assert white.loc[20:, "memory"].to_numpy() == pytest.approx(1, abs=0.1)  # from the start, in a warmup
    assert late["along"].to_numpy() == pytest.approx(0, abs=0.1)


def test_R_is_size_plus_along_to_rounding():
    """The identity is exact for any gradients; the parts are taken from the weights themselves here."""
    rng = np.random.default_rng(0)
    start, end, lr = rng.normal(0, 0.02, 500), rng.normal(0, 0.05, 500), np.array([0.1, 0.2])
    law = NullLaw(lr, 0.5, 0.9)
    keep = (1 - 0.05) * (1 - 0.1)
    noise = 0.1**2 * (1 - 0.1) ** 2 + 0.2**2
    put_in = end - keep * start
    rows = {("std", 0): start.std(), ("std", 2): end.std(), ("rms", 0): np.sqrt((start**2).mean()),
            ("rms", 2): np.sqrt((end**2).mean()), ("delta_ms_init", 2): ((end - start) ** 2).mean(),
            ("delta_dot_init", 2): (start * (end - start)).mean()}
    weights = pd.DataFrame([(step, 1, "q", stat, value) for (stat, step), value in rows.items()],
                                      columns=["step", "layer", "role", "stat", "value"])
    row = measure_run(weights, law).set_index("step").loc[2]
    assert row["size"] == pytest.approx((put_in**2).mean() / noise, rel=1e-12)
    assert row["along"] == pytest.approx(2 * keep * (start * put_in).mean() / noise, rel=1e-9)
    assert row["R"] == pytest.approx(((end**2).mean() - keep**2 * (start**2).mean()) / noise, rel=1e-12)
    assert np.isnan(row["D"]) and np.isnan(row["c2"])  # no window, no update measured


def test_sparse_gradients_make_updates_small_not_correlated(white):
    """One entry in twenty updates: Adam divides by spikes, so c^2 falls; memory and R/D stay near 1."""
    last = measured(adam_noise.sparse(0.05)).iloc[-1]
    assert last["c2"] < 0.7 * white["c2"].iloc[-1]
    assert 0.95 < last["memory"] < 1.2
    assert last["R"] / last["D"] == pytest.approx(1, abs=0.15)
    assert last["grad_kurtosis"] > 40 > abs(white["grad_kurtosis"].iloc[-1]) + 39


def test_a_steady_direction_shows_as_memory_and_as_persistence_beyond_the_window(steady):
    last = steady.iloc[-1]
    assert last["memory"] > 3
    assert last["R"] / last["D"] > 2  # windows of 100 steps agree with one another
    assert last["along"] == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_pull_along_the_initial_weights_shows_as_along(steady, sign):
    """The same update size as a steady direction's, but R moves by its alignment, up or down."""
    pulled = measured(adam_noise.aligned(0.3 * sign)).iloc[-1]
    assert pulled["size"] == pytest.approx(steady["size"].iloc[-1], rel=0.05)
    assert sign * pulled["along"] > 5
    assert pulled["R"] == pytest.approx(pulled["size"] + pulled["along"])


def test_the_expected_variance_of_a_window_matches_simulation():
    """white_between against plain momentum over white gradients, anywhere in a schedule."""
    lr, rng = COSINE[:150] * 20, np.random.default_rng(1)
    law = NullLaw(lr, 0.4, 0.9)
    momentum, put = np.zeros(40_000), {0: 0.0, 7: 0.0, 120: 0.0}
    for t, rate in enumerate(lr):
        momentum = 0.9 * momentum + 0.1 * rng.normal(size=momentum.size)
        for start in put:
            if start <= t < start + 20:
                put[start] = (1 - rate * 0.4) * put[start] - rate * momentum / (1 - 0.9 ** (t + 1))
    simulated = [(values**2).mean() for values in put.values()]
    assert law.white_between(np.array(list(put)), 20) == pytest.approx(simulated, rel=0.03)


def test_a_run_without_its_lr_is_an_error():
    frames, knobs = adam_noise.run(steps=20)
    with pytest.raises(BadInput, match="losses of gpt2-0: some steps have no lr"):
        laws(frames["losses"][lambda f: f["step"] != 3], [knobs])
    with pytest.raises(BadInput, match="losses of other-0"):
        laws(frames["losses"], [knobs | {"arm": "other"}])
    late = frames["weights"][lambda f: f["step"] > 0]
    with pytest.raises(BadInput, match="expected the first at 0"):
        measure_run(late, laws(frames["losses"], [knobs])["gpt2", 0])
