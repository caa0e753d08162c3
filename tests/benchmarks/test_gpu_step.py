"""benchmarks/gpu_step.py with a tiny model on a CPU: who is compared, and that a wrong peer is noticed."""

import importlib

import pytest
import torch

from imports import ROOT


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.chdir(ROOT)
    threads = torch.get_num_threads()
    yield importlib.import_module("gpu_step")
    torch.set_num_threads(threads)


def test_it_is_the_run_of_the_paper_s_size(bench):
    run = bench.as_run(tiny=False)
    assert (run.n_layer, run.n_embd, run.n_ctx, run.vocab_size, run.batch_size) == (12, 768, 1024, 50257, 32)
    assert (run.device, run.precision, run.compile) == ("cuda", "bf16", True)


@pytest.mark.slow
def test_rows(bench, monkeypatch):
    monkeypatch.setattr(bench, "STEPS", 2)
    rows = bench.rows(bench.as_run(tiny=True), 1)
    assert [row["peer"] for row in rows] == [bench.OURS, bench.NANO, *bench.TRACKED]
    assert len({row["median"] for row in rows}) > 1 and all(row["unit"] == "tokens/s" for row in rows)


@pytest.mark.slow
def test_each_tracker_measures_what_its_row_says(bench):
    training = bench.start(bench.as_run(tiny=True))
    for kinds, every in bench.TRACKED.values():
        tracker = bench.tracker(training, kinds, every)
        bench.watched(training, tracker)()
        assert len([step for step, *_ in tracker.records if step % every == 0]) == bench.STEPS // every
        raw = {name for _, names, _ in tracker.records for name in names}
        assert ("delta_ms_init" in raw) == ("update_rms" in raw) == (kinds == bench.KINDS), raw


@pytest.mark.slow
def test_a_peer_with_other_weights_is_noticed(bench, monkeypatch):
    def other(model):
        found, logits = nanogpt(model)
        torch.nn.init.zeros_(found.h[11].c_out.weight)
        return found, logits

    nanogpt = bench.nanogpt
    monkeypatch.setattr(bench, "nanogpt", other)
    with pytest.raises(AssertionError, match="logits are"):
        bench.rows(bench.as_run(tiny=True), 1)
