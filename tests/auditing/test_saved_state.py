"""Which of all that a training script saves is the model, and what is said of the rest."""

import argparse
import re

import numpy as np
import pytest
import torch
from torch import nn

from networks import NanoGPT, transformer
from variance_dynamics.auditing.audit import audit
from variance_dynamics.auditing.checkpoint_files import open_checkpoint
from variance_dynamics.auditing.tensors import float64
from variance_dynamics.base.errors import BadInput

STATE = {"h.0.weight": torch.full((4, 4), 1.0), "h.0.bias": torch.zeros(4)}
EMA = {name: value + 1 for name, value in STATE.items()}


def adam():
    model = nn.Linear(6, 7)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 6)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def opened(tmp_path, saved, key=""):
    torch.save(saved, tmp_path / "ckpt.pt")
    return open_checkpoint(f"{tmp_path / 'ckpt.pt'}{key}")


def first(checkpoint, name="h.0.weight"):
    return float64(checkpoint.tensors[name].raw(), "F32").flat[0]


@pytest.mark.parametrize("saved", [
    {"model": STATE, "optimizer": adam(), "iter_num": 5, "best_val_loss": torch.tensor(3.2)},  # nanoGPT
    {"net": STATE, "acc": 0.9, "epoch": 3}, {"model_state_dict": STATE, "optimizer_state_dict": adam()},
    {"state": {"model": STATE, "optimizer": adam()}}, {"ema": STATE}, {"anything": {"inner": STATE}},
    {"state_dict": STATE, "optimizer_states": [adam()], "lr_schedulers": [{"last": torch.ones(2, 2)}]},
    {"weights": STATE, "rng": torch.ones(8, dtype=torch.uint8)},
    {"generator": STATE, "loss": torch.tensor(1.0)}])
def test_the_model_is_read_from_where_scripts_put_it(tmp_path, saved):
    checkpoint = opened(tmp_path, saved)
    assert set(checkpoint.tensors) == set(STATE) and first(checkpoint) == 1 and not checkpoint.notes
    assert {row.parameter.name for row in audit(saved, trained=True).rows} == {"h.0.weight"}


@pytest.mark.parametrize(("model", "copy"), [
    ("model", "ema"), ("state_dict", "state_dict_ema"), ("net", "net_ema"), ("student", "teacher"),
    ("model", "model_ema")])
def test_of_two_sets_of_weights_one_is_read_and_a_note_says_how_to_read_the_other(tmp_path, model, copy):
    for saved in ({model: STATE, copy: EMA}, {copy: EMA, model: STATE}):
        checkpoint = opened(tmp_path, saved)
        assert first(checkpoint) == 1
        (note,) = checkpoint.notes
        said = "the weights under {0} were read, and not those under {1} (which FILE:{1} reads)"
        assert note == said.format(model, copy)
        assert first(opened(tmp_path, saved, f":{copy}")) == 2
    with pytest.raises(BadInput, match=f"nothing is not in it: expected one of {copy}, {model}"):
        opened(tmp_path, saved, ":nothing")


def test_networks_side_by_side_are_one_model_and_a_matrix_beside_the_model_is_named(tmp_path):
    assert len(opened(tmp_path, {"encoder": STATE, "decoder": EMA}).tensors) == 4
    (note,) = opened(tmp_path, {"model": STATE, "mean_image": torch.ones(3, 3)}).notes
    assert "not those under mean_image" in note


def test_the_config_beside_it_is_read_from_mappings_and_from_objects_of_other_libraries(tmp_path):
    config = {"n_head": np.int64(4), "lr": np.float32(0.5), "huge": 10**400, "model": nn.Linear(1, 1)}
    for args in (argparse.Namespace(**config), config):
        read = opened(tmp_path, {"net": STATE, "args": args}).config
        assert read["n_head"] == 4 and read["lr"] == 0.5 and "huge" not in read and "model" not in read


@pytest.mark.parametrize("saved", [
    NanoGPT(), {"model": NanoGPT(), "ema": NanoGPT(seed=1)}, transformer("llama")])
def test_whole_modules_are_read_without_their_classes_and_without_losing_a_vector(tmp_path, saved):
    module = saved["model"] if isinstance(saved, dict) else saved
    checkpoint = opened(tmp_path, saved)
    expected = {name: value.double().numpy() for name, value in module.state_dict().items()}
    assert expected.keys() <= checkpoint.tensors.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(float64(checkpoint.tensors[name].raw(), "F32"), value)


class Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        self.model, self.readout = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.readout(self.model(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(tmp_path):
    torch.jit.save(torch.jit.script(Scripted()), tmp_path / "m.pt")
    assert set(open_checkpoint(tmp_path / "m.pt").tensors) == set(Scripted().state_dict())


@pytest.mark.parametrize(("saved", "message"), [
    ({"epoch": 3}, "keys epoch: expected a state dict"), ([1, 2], "a list: expected"),
    ("text", "a str: expected"), ({"optimizer": adam()}, "keys optimizer: expected"),
    ({"a.b": torch.ones(2, 2), "a": {"b": torch.ones(2, 2)}}, "tensor a.b is one of 1: expected each name")])
def test_what_holds_no_model(tmp_path, saved, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        opened(tmp_path, saved)


def test_names_by_the_ten_thousand_take_seconds(tmp_path):
    """Time grows with the file and not with its square; it took four minutes."""
    weight = torch.randn(10, 10)
    assert len(opened(tmp_path, {f"{number}.weight": weight for number in range(20_000)}).tied) == 19_999
