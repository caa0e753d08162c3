"""The sweep's benchmark compares what is equal: every peer has our losses."""

import importlib.util

import pytest
import torch


@pytest.fixture
def sweep():
    import sweep

    torch.set_num_threads(1)
    return sweep


@pytest.fixture
def setting(sweep):
    return sweep.Setting(sweep.Case("tiny", (9, 16, 16, 16, 4), 8, 5, 60, 20, 10))


def test_the_peers_losses_are_ours(sweep, setting):
    assert sweep.check(setting, with_jax=importlib.util.find_spec("jax") is not None) < 1e-5
    losses = setting.ours(20)
    assert losses.shape == (5, 20)
    assert (losses[-1, -5:] < losses[-1, :5]).all()  # they learn, so that agreement means something


def test_a_difference_is_noticed(sweep, setting, monkeypatch):
    monkeypatch.setattr(sweep, "LR", 0.1)  # the peers', while our grid was made with another
    with pytest.raises(AssertionError, match="loop"):
        sweep.check(setting, with_jax=False)


def test_products_keep_their_size(setting):
    setting.products(2, 3)
    setting.products_in_chunks(2)
