"""Pretraining as a whole, on a GPT-2 of a second: what it learns, what it leaves, that nothing is lost."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from study.base import checkpoint, checkpoint_folder
from study.gpt2 import engines
from study.gpt2 import model as gpt2
from study.gpt2 import tables as pretrain_tables
from study.gpt2.batches import open_corpus
from study.gpt2.engines import in_precision
from study.gpt2.pretrain import Pretraining, adamw, build, dump_steps, histogram_steps, pretrain
from tiny_gpt2 import DUMPS, VOCAB, tiny_run, write_corpus
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.schedules import learning_rate
from variance_dynamics.base.seeding import torch_seed

FILES = ["activations.parquet", "histograms.parquet", "losses.parquet", "model.safetensors", "run.json",
         "weights.parquet"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """One thread, and checkpoints in a folder of the test's own."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.fixture
def corpus(tmp_path):
    return open_corpus(write_corpus(tmp_path / "corpus"), VOCAB, 16)


def finished(run, corpus, folder, arm="gpt2", seed=0):
    training = pretrain(run, arm, seed, corpus)
    pretrain_tables.write(folder, arm, training)
    return training


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def table(folder, name):
    return pd.read_parquet(folder / f"{name}.parquet")


def values(folder, stat):
    losses = table(folder, "losses")
    return losses[losses.stat == stat].set_index("step").value


def test_loss_starts_at_guessing_and_falls(corpus, place):
    run = tiny_run(steps=150, lr=1e-2, checkpoint_every=1000)
    finished(run, corpus, place / "out")
    loss = values(place / "out", "val_loss")
    assert loss[0] == pytest.approx(math.log(VOCAB), abs=0.05)
    assert loss[150] < 0.5 * loss[0]
    assert values(place / "out", "train_loss")[0] == pytest.approx(math.log(VOCAB), abs=0.05)


def test_tables_are_as_promised(corpus, place):
    run = tiny_run()
    training = finished(run, corpus, place / "out", "std_1", 3)
    assert sorted(contents(place / "out")) == FILES
    weights = table(place / "out", "weights")
    assert weights.columns.tolist() == ["arm", "seed", "step", "layer", "role", "stat", "value"]
    assert weights.value.dtype == np.float64 and set(weights.arm) == {"std_1"} and set(weights.seed) == {3}
    assert sorted(weights[weights.stat == "std"].step.unique()) == dump_steps(run)
    assert {(r, ly) for r, ly in zip(weights.role, weights.layer, strict=True)} == {
        ("embedding", 0), ("position", 0),
        *((role, ly) for role in ("q", "k", "v", "attn_out", "mlp_in", "mlp_out") for ly in (1, 2))}
    assert set(weights.stat) == {
        "std", "mean", "rms", "absmax", "kurtosis",
        "update_rms", "grad_norm", "grad_kurtosis", "epsilon_share",
        *(f"delta_{kind}_{name}" for kind in ("ms", "dot") for name in ("2", "5", "init"))}
    assert weights.value.notna().all()
    assert values(place / "out", "lr").tolist() == [
        learning_rate(step, run.lr, run.schedule, 4, 12, run.min_lr_ratio) for step in range(12)]
    for stat in ("train_loss", "lr", "clip"):
        assert values(place / "out", stat).index.tolist() == list(range(run.steps))
    assert values(place / "out", "val_loss").index.tolist() == [0, 5, 10, 12]
    assert values(place / "out", "clip").between(0, 1).all()
    activations = table(place / "out", "activations")
    assert sorted(activations.layer.unique()) == [0, 1, 2] and set(activations.step) == set(dump_steps(run))
    histograms = table(place / "out", "histograms")
    assert set(histograms.layer) == {2} and sorted(histograms.step.unique()) == histogram_steps(run)
    described = json.loads((place / "out" / "run.json").read_text())
    assert described["tokens_seen"] == 12 * 8 * 16 and described["parameters"] == sum(
        p.numel() for p in training.model.parameters())
    saved = load_file(place / "out" / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in training.model.state_dict().items())


def test_the_same_run_gives_the_same_bytes(corpus, place):
    for name in ("one", "two"):
        training = finished(tiny_run(precision="bf16"), corpus, place / name)
        checkpoint_folder.remove(training.checkpoints)
    assert contents(place / "one") == contents(place / "two")


class Stopped(Exception):
    """Raised in the place of an update."""


def stopped(run, corpus, step, monkeypatch):
    """Train from the last checkpoint until so many updates are done; gives where it started."""
    advance, started = Pretraining.advance, []

    def until(training):
        started.append(training.step)
        if training.step == step:
            raise Stopped
        advance(training)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Pretraining, "advance", until)
        pretrain(run, "gpt2", 0, corpus)
    return started[0]


@pytest.mark.parametrize("arm", ["gpt2", "torch_defaults"])
def test_a_run_stopped_again_and_again_ends_with_the_same_bytes(corpus, place, monkeypatch, arm):
    """After each step; every call continues from the checkpoint of the one before."""
    training = finished(tiny_run(arm), corpus, place / "whole")
    checkpoint_folder.remove(training.checkpoints)
    run = tiny_run(arm, checkpoint_every=1)
    assert [stopped(run, corpus, step, monkeypatch) for step in range(1, 12)] == list(range(11))
    assert finished(run, corpus, place / "pieces").resumed_at == 11
    assert contents(place / "whole") == contents(place / "pieces")


def test_a_killed_run_loses_at_most_one_interval(corpus, place):
    run = tiny_run(checkpoint_every=4)
    whole = finished(run, corpus, place / "whole")
    checkpoint_folder.remove(whole.checkpoints)
    killed = Pretraining(run, 0, corpus)
    killed.start()
    for _ in range(7):
        killed.advance()
        if killed.step == 4:
            checkpoint.save(killed.checkpoints, killed.step, killed.state_dict())
    again = finished(run, corpus, place / "again")
    assert again.resumed_at == 4
    assert contents(place / "whole") == contents(place / "again")


def test_checkpoints_of_another_run_are_not_taken(corpus, monkeypatch):
    stopped(tiny_run(checkpoint_every=1), corpus, 1, monkeypatch)
    for run, seed in ((tiny_run(lr=2e-3), 0), (tiny_run("wd_0"), 0), (tiny_run(), 1)):
        assert pretrain(run, "gpt2", seed, corpus).resumed_at == 0
    assert pretrain(tiny_run(checkpoint_every=9), "gpt2", 0, corpus).resumed_at == 1


def test_micro_batches_add_up_to_the_batch(corpus, place):
    finished(tiny_run(), corpus, place / "whole")
    finished(tiny_run(micro_batch_size=2), corpus, place / "parts")
    for stat in ("train_loss", "clip"):
        np.testing.assert_allclose(values(place / "parts", stat), values(place / "whole", stat), rtol=1e-4)


@pytest.mark.parametrize("arm", ["gpt2", "torch_defaults"])
def test_the_number_of_cores_changes_no_byte(corpus, place, monkeypatch, arm):
    for cores in (1, 2, 3):
        monkeypatch.setattr(engines, "cores", lambda cores=cores: cores)
        run = tiny_run(arm, micro_batch_size=2, precision="bf16", checkpoint_every=100)
        finished(run, corpus, place / str(cores))
    assert contents(place / "1") == contents(place / "2") == contents(place / "3")


def test_bf16_follows_fp32(corpus, place):
    for precision in ("fp32", "bf16"):
        finished(tiny_run(precision=precision, steps=60, lr=1e-2), corpus, place / precision)
    exact, rounded = (values(place / precision, "train_loss") for precision in ("fp32", "bf16"))
    np.testing.assert_allclose(rounded, exact, rtol=0.03)


def test_arms_are_paired_in_draws_and_batches(corpus):
    one, other = (Pretraining(tiny_run(arm), 0, corpus) for arm in ("gpt2", "std_1"))
    torch.testing.assert_close(other.model.wte.weight, 5 * one.model.wte.weight, rtol=1e-6, atol=0)
    assert np.array_equal(one.batches(7), other.batches(7))
    apart = Pretraining(tiny_run(), 1, corpus)
    assert not np.array_equal(one.batches(7), apart.batches(7))


def test_the_first_update_is_lr_times_the_sign(corpus):
    """Adam's first normalised update is g / (|g| + eps): an oracle without the optimizer's code."""
    training = Pretraining(tiny_run(warmup_steps=0, weight_decay=0.5, eps=1e-20), 0, corpus)
    before = training.model.h[0].mlp.c_fc.weight.detach().clone()
    training.start()
    training.advance()
    after = training.model.h[0].mlp.c_fc.weight.detach()
    moved = after - before * (1 - 1e-3 * 0.5)
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 1e-3), rtol=1e-3, atol=1e-7)


def test_without_init_code_a_model_is_what_pytorch_builds():
    """The same numbers as the plain constructor's, and the std that torch's documentation gives for each."""
    run = tiny_run("torch_defaults")
    model = build(run, 3, torch.device("cpu"))
    torch.manual_seed(torch_seed(3, "init"))
    plain = gpt2.GPT2(gpt2.Shape(2, 2, 16, 16, VOCAB, tied=False, qkv_bias=False))
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    wide = build(tiny_run("torch_defaults", n_embd=256, n_ctx=128), 0, torch.device("cpu"))
    for matrix in wide.matrices():
        expected = 1.0 if matrix.layer == 0 else (3 * matrix.fan_in) ** -0.5
        assert wide.get_parameter(matrix.name).std().item() == pytest.approx(expected, rel=0.03), matrix.name
    assert wide.h[0].mlp.c_fc.bias.std() > 0 and "h.0.attn.q.bias" not in wide.state_dict()


def test_building_it_draws_from_no_global_stream():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build(tiny_run("torch_defaults"), 0, torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)


def test_without_clipping_gradients_stay_as_they_are(corpus, place):
    """As with a limit that is never reached; a small limit changes the run."""
    for name, limit in (("none", None), ("high", 1e30), ("low", 1e-3)):
        finished(tiny_run(grad_clip=limit, eps=1e-3), corpus, place / name)
    weights = {name: table(place / name, "weights") for name in ("none", "high", "low")}
    pd.testing.assert_frame_equal(weights["none"], weights["high"])
    assert not weights["none"].equals(weights["low"])
    assert (values(place / "none", "clip") == 1).all() and (values(place / "low", "clip") < 1).all()


def test_a_run_with_dropout_is_not_compiled_and_says_so(corpus, place, capfd):
    for name, compiled in (("plain", False), ("asked", True)):
        finished(tiny_run("torch_defaults", steps=3, warmup_steps=0, compile=compiled), corpus, place / name)
    assert "dropout is 0.1, so this run is not compiled" in capfd.readouterr().err
    assert values(place / "plain", "train_loss").equals(values(place / "asked", "train_loss"))


def test_every_matrix_decays_and_no_vector():
    model = gpt2.GPT2(gpt2.Shape(n_layer=2, n_head=2, n_embd=8, n_ctx=8, vocab_size=10))
    optimizer = adamw(model, tiny_run(weight_decay=0.3))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    matrices = {p.name for p in model.matrices()}
    for name, parameter in model.named_parameters():
        assert decays[id(parameter)] == (0.3 if name in matrices else 0), name


def test_steps_of_the_default_schedule():
    often = DUMPS | {"every_step_until": 20, "per_decade": 16, "every": 25, "histogram_dumps": 12}
    run = tiny_run(steps=500, dumps=often)
    steps = dump_steps(run)
    assert set(range(21)) | set(range(0, 501, 25)) <= set(steps) and steps[-1] == 500
    assert len(histogram_steps(run)) <= 12 and {0, 500} <= set(histogram_steps(run)) <= set(steps)


def test_a_device_that_is_not_there(corpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInput, match=r"gpt2\.device is 'cuda': no CUDA device here: expected cpu"):
        Pretraining(tiny_run(device="cuda"), 0, corpus)


def test_a_diverging_run_is_a_result(corpus, place):
    finished(tiny_run(lr=1e6, warmup_steps=0), corpus, place / "out")
    assert len(values(place / "out", "train_loss")) == 12
    assert len(table(place / "out", "weights"))


@pytest.mark.slow
def test_compiled_gives_the_same_curve_on_any_number_of_cores(corpus, place, monkeypatch):
    for name, cores in (("eager", 2), ("one", 1), ("two", 2)):
        monkeypatch.setattr(engines, "cores", lambda cores=cores: cores)
        run = tiny_run(compile=name != "eager", micro_batch_size=2, checkpoint_every=100)
        training = finished(run, corpus, place / name)
        checkpoint_folder.remove(training.checkpoints)
    eager, compiled = (values(place / name, "train_loss") for name in ("eager", "two"))
    np.testing.assert_allclose(compiled, eager, rtol=1e-4)
    assert contents(place / "one") == contents(place / "two")
    assert not (compiled == eager).all(), "nothing was compiled"


@pytest.mark.cuda
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_follows_the_cpu(corpus, place, compiled):
    """All of preset gpt2's path, and its dumps, against fp32 on a CPU."""
    for device, precision in (("cpu", "fp32"), ("cuda", "bf16")):
        fast = compiled and device == "cuda"
        finished(tiny_run(device=device, precision=precision, compile=fast, steps=60, lr=1e-2), corpus,
                 place / device)
    exact, rounded = (values(place / device, "train_loss") for device in ("cpu", "cuda"))
    np.testing.assert_allclose(rounded, exact, rtol=0.03)
    exact, rounded = (table(place / device, "weights") for device in ("cpu", "cuda"))
    first = (exact.step == 0) & exact.stat.isin(["std", "mean", "rms", "absmax", "kurtosis"])
    assert exact.shape == rounded.shape
    np.testing.assert_allclose(rounded.value[first], exact.value[first], rtol=1e-4, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "logits_at_once"), [("fp32", 2**20), ("bf16", 2**12)])
def test_the_loss_is_one_graph_as_it_is_compiled_for_a_gpu(corpus, monkeypatch, precision, logits_at_once):
    """On a CPU it is compiled by parts, which would not show a break between them. Fused AdamW on a GPU
    wants gradients laid out as their weights."""
    monkeypatch.setitem(gpt2.LOGITS_AT_ONCE, "cpu", logits_at_once)
    torch.compiler.reset()
    run = tiny_run(precision=precision)
    model = build(run, 0, torch.device("cpu"))
    rows = torch.from_numpy(corpus.train[: 8 * 17].astype(np.int64)).view(8, 17)
    loss = in_precision(model.loss, run)
    whole = torch.compile(loss, dynamic=False, fullgraph=True)
    gradients = [torch.autograd.grad(each(rows[:, :-1], rows[:, 1:]), list(model.parameters()))
                 for each in (whole, loss)]
    close = {"rtol": 1e-3, "atol": 1e-6} if precision == "fp32" else {"rtol": 0.05, "atol": 2e-3}
    for weight, compiled, eager in zip(model.parameters(), *gradients, strict=True):
        torch.testing.assert_close(compiled, eager, **close)
        assert compiled.stride() == weight.stride()
    with torch.no_grad():
        torch.testing.assert_close(*(each(rows[:, :-1], rows[:, 1:]) for each in (whole, loss)), **close)


@pytest.mark.cuda
def test_a_step_does_not_wait_for_the_gpu(corpus):
    training = Pretraining(tiny_run(device="cuda", precision="bf16", steps=30), 0, corpus)
    training.start()
    training.advance()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(12):
            training.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")
