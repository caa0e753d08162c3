"""A small Llama with grouped heads, trained once, with eight checkpoints in three shards each."""

import pytest

from trained_series import made, saved, train


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    """(folder of checkpoints 0, 30, ..., 210, the Tracker's table)."""
    folder = tmp_path_factory.mktemp("llama")
    model, logits = made("llama")
    return folder, train(model, logits, saved(model, folder, "llama"), every=30, steps=210)
