"""Batches against the tokens they came from."""

import json

import numpy as np
import pytest

from study.gpt2.batches import Batches, open_corpus, spread
from tiny_gpt2 import VOCAB, write_corpus
from variance_dynamics.base.errors import BadInput


def test_an_epoch_shows_each_token_once_in_another_order():
    tokens = np.arange(10 * 7 + 3 + 1)
    batches = Batches(tokens, n_ctx=7, batch_size=2, seed=0)
    assert batches.per_epoch == 9
    first = np.concatenate([batches(step) for step in range(9)])
    epochs = first[:9], first[9:]
    for rows in epochs:
        assert len(np.unique(rows[:, :-1])) == 63
        assert (np.diff(rows) == 1).all()
    assert not np.array_equal(*epochs)


def test_a_batch_depends_on_seed_and_step_alone():
    tokens = np.arange(1000)
    asked = Batches(tokens, 10, 4, seed=3)
    late = asked(300)
    asked(0)
    assert np.array_equal(asked(300), late)
    assert np.array_equal(Batches(tokens, 10, 4, seed=3)(300), late)
    assert not np.array_equal(Batches(tokens, 10, 4, seed=4)(300), late)


def test_the_smallest_corpus_is_one_context_and_one_token():
    assert Batches(np.arange(8), 7, 3, seed=0)(5).tolist() == [list(range(8))] * 3


def test_spread_is_even_and_stays_inside():
    rows = spread(np.arange(101), 10, 4)
    assert rows[:, 0].tolist() == [0, 20, 50, 70] and (np.diff(rows) == 1).all()
    assert len(spread(np.arange(101), 10, 99)) == 10
    assert spread(np.arange(101), 10, 99)[-1, -1] == 100


def test_corpus_is_mapped_and_checked(tmp_path):
    folder = write_corpus(tmp_path / "corpus")
    corpus = open_corpus(folder, VOCAB, 16)
    assert len(corpus.train) == 4000 and len(corpus.val) == 500 and corpus.train.max() < VOCAB
    assert isinstance(corpus.train, np.memmap)
    with pytest.raises(BadInput, match=f"vocabulary is {VOCAB}: expected at most the model's vocab_size, 60"):
        open_corpus(folder, 60, 16)
    with pytest.raises(BadInput, match=r"val\.bin: 500 tokens: expected at least one context .*, 501"):
        open_corpus(folder, VOCAB, 500)


@pytest.mark.parametrize("manifest", [None, "{", "[]", json.dumps({"vocab_size": 4}),
                                      json.dumps({"vocab_size": 4, "dtype": "what"})])
def test_no_corpus_is_one_line(tmp_path, manifest):
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(BadInput, match=r"no corpus .*: expected what stage corpus writes"):
        open_corpus(tmp_path, 4, 4)
