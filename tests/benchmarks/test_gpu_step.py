"""The benchmark for a GPU with a tiny model on a CPU: who is compared, and that a wrong peer is noticed."""

import pytest
import torch

TINY = {"n_embd": 24, "n_ctx": 32, "batch_size": 4, "micro_batch_size": 2, "device": "cpu", "compile": False}


@pytest.fixture
def bench():
    import gpu_step

    return gpu_step


def test_it_is_the_run_of_the_paper_s_size(bench):
    run = bench.paper_size()
    assert (run.n_layer, run.n_embd, run.n_ctx, run.vocab_size, run.batch_size) == (12, 768, 1024, 50257, 32)
    assert (run.device, run.precision, run.compile) == ("cuda", "bf16", True)


@pytest.mark.slow
def test_rows(bench, monkeypatch):
    """Rates are stood in for; what would be timed is run once by `rows` itself."""
    run, works = bench.paper_size(**TINY), {}

    def rates(given, rounds):
        works.update(given)
        return {name: [12.0 / (place + 1)] * rounds for place, name in enumerate(given)}

    monkeypatch.setattr(bench, "rates", rates)
    rows = bench.rows(run, 2)
    assert [row["peer"] for row in rows] == list(works) == [bench.OURS, bench.NANO, *bench.TRACKED]
    assert {units for _, units in works.values()} == {bench.STEPS * run.batch_size * run.n_ctx}
    assert [row["ratio_median"] for row in rows] == [1, 2, 3, 4, 5, 6], "ours over theirs"


@pytest.mark.slow
def test_each_tracker_measures_what_its_row_says(bench):
    training = bench.untracked(bench.paper_size(**TINY))
    trackers = {name: bench.watching(training, *how) for name, how in bench.TRACKED.items()}
    for name, tracker in trackers.items():
        bench.watched(training, tracker)()
        dumps = [names for _, names, _, _ in tracker.records if "std" in names]
        assert len(dumps) == (1 if "one step in ten" in name else bench.STEPS), name
        assert all(("delta_ms_init" in names) == ("update_rms" in names) == ("everything" in name)
                   for names in dumps), name


def test_share_and_memory_on_a_gpu(bench, monkeypatch):
    run = bench.paper_size()
    monkeypatch.setattr(bench, "matrix_rate", lambda device: 4e14)
    tokens = 2e14 / bench.flops(run)
    assert bench.share(run, [tokens, tokens, 0.0]) == {"share": 0.5}
    for name, value in (("memory_allocated", 2 * 2**30), ("max_memory_allocated", 5 * 2**30),
                        ("reset_peak_memory_stats", None), ("synchronize", None)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    assert bench.with_memory(torch.device("cuda"), lambda: 7) == (7, {"peak_gpu_memory_gib": 3.0})


@pytest.mark.slow
def test_a_peer_with_other_weights_is_noticed(bench, monkeypatch):
    def other(model):
        peer, logits = nanogpt(model)
        torch.nn.init.zeros_(peer.h[11].c_out.weight)
        return peer, logits

    nanogpt = bench.nanogpt
    monkeypatch.setattr(bench, "nanogpt", other)
    with pytest.raises(AssertionError, match="logits are"):
        bench.rows(bench.paper_size(**TINY), 1)
