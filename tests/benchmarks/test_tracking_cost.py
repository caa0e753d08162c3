"""The tracking benchmark: who watches what, and that percentages are of the steps without it."""

import pytest
import torch

SMALL = {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_ctx": 16, "vocab_size": 512, "batch_size": 4,
         "micro_batch_size": 2}


@pytest.fixture
def bench():
    import tracking_cost

    return tracking_cost


def test_rows(bench):
    rows = bench.rows(1, **SMALL)
    places = {(row["shape"], row["peer"]) for row in rows}
    assert len(places) == len(rows) == 8
    assert {shape for shape, _ in places} == {f"{content}, {rate}" for content in ("weights", "everything")
                                              for rate in ("every step", "one step in ten")}
    for row in rows:
        assert row["bench"] == "tracking" and row["median"] > 0
        assert row["ratio_median"] == 1 or row["peer"] != "ours"


def test_everyone_measures_in_the_steps_that_are_timed(bench):
    setting = bench.Setting(**SMALL)
    every, tenth = (setting.watchers["everything", rate, "ours"] for rate in bench.SCHEDULES)
    every.records.clear(), tenth.records.clear()
    setting.share(("everything", "every step", "ours"), 3)
    setting.share(("everything", "one step in ten", "ours"), 10)
    assert len(every.records) == 3 and len(tenth.records) == 1
    raw = {name for _, names, _, _ in tenth.records for name in names}
    assert raw >= {"std", "grad_norm", "update_rms", "epsilon_share", "delta_ms_init", "delta_ms_10"}
    peer = setting.watchers["weights", "every step", bench.PEER]
    setting.share(("weights", "every step", bench.PEER), 1)
    sizes = [parameter.numel() for parameter in setting.training.model.parameters()]
    assert [sum(counts) for _, _, counts in peer.kept] == sizes


def test_the_share_is_of_the_rest_of_the_step(bench, monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(ticks)))
    setting = object.__new__(bench.Setting)
    setting.clock = bench.Clock(bench.on_random_tokens(bench.undisturbed("cpu", **SMALL)))
    setting.watchers = {"case": bench.Histograms(torch.nn.Linear(2, 2), False, lambda step: True)}

    class Training:
        def advance(self):
            setting.clock.step()

    setting.training = Training()
    assert setting.share("case", 4) == 100 * 4 / (9 - 4)
