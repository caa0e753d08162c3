"""Files as other libraries write them, whole, cut short and malicious."""

import json
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from networks import NanoGPT, transformer
from variance_dynamics.auditing.checkpoint_files import open_checkpoint
from variance_dynamics.auditing.tensors import float64, measure
from variance_dynamics.base.errors import BadInput


def values(checkpoint, name):
    stored = checkpoint.tensors[name]
    return float64(stored.raw(), stored.dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_each_float_type_reads_back(tmp_path, dtype, suffix):
    torch.manual_seed(0)
    state = {"odd": torch.randn(3, 5).to(dtype), "scalar": torch.tensor(2.0, dtype=dtype),
             "ids": torch.arange(4), "empty": torch.empty(0, 3, dtype=dtype)}
    file = tmp_path / f"model.{suffix}"
    save_file(state, file) if suffix == "safetensors" else torch.save(state, file)
    checkpoint = open_checkpoint(file)
    assert set(checkpoint.tensors) == {"odd", "scalar", "empty"} and list(checkpoint.skipped) == ["ids"]
    for name in checkpoint.tensors:
        np.testing.assert_array_equal(values(checkpoint, name), state[name].double().numpy())


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state, "iter": 3},
                                  lambda state: {"state_dict": state, "epoch": 1}])
@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_where_training_scripts_put_them(tmp_path, wrap, zipped):
    state = NanoGPT().state_dict()
    torch.save(wrap(state), tmp_path / "ckpt.pt", _use_new_zipfile_serialization=zipped)
    checkpoint = open_checkpoint(tmp_path / "ckpt.pt")
    assert list(checkpoint.tensors) == list(state)
    assert checkpoint.tied == {"lm_head.weight": "transformer.wte.weight"}


@pytest.mark.parametrize("shard", ["5GB", "20KB"])
def test_hugging_face_folder_whole_and_sharded(tmp_path, shard):
    model = transformer("gpt_neox")
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "20KB")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config["num_attention_heads"] == 4
    weight = "gpt_neox.layers.1.mlp.dense_4h_to_h.weight"
    expected = model.get_parameter(weight).detach().double().numpy()
    np.testing.assert_array_equal(values(checkpoint, weight), expected)
    if shard == "20KB":
        index = open_checkpoint(tmp_path / "model.safetensors.index.json")
        assert index.tensors.keys() == checkpoint.tensors.keys()


def own_memory():
    """Bytes that this process holds beside mapped files; torch's memory is none that tracemalloc sees."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line]
    return 1024 * int(line.split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells it")
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_big_tensor_is_never_whole_in_memory(tmp_path, suffix):
    state = {"weight": torch.randn(4000, 4000)}
    file = tmp_path / f"model.{suffix}"
    save_file(state, file) if suffix == "safetensors" else torch.save(state, file)
    open_checkpoint(file)  # its imports are not what is measured
    tracemalloc.start()
    before = own_memory()
    stored = open_checkpoint(file).tensors["weight"]
    raw = stored.raw()
    assert own_memory() - before < 32_000_000, "opened, it is a view of the file"
    moments = measure(raw, stored.dtype)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert moments.count == 16_000_000
    assert peak < 64_000_000, "the tensor has 64 MB as it is stored, and 128 MB in float64"


class Trap:
    """Unpickled the ordinary way, it would make a file."""

    def __init__(self, sign):
        self.sign = sign

    def __reduce__(self):
        return os.mkdir, (str(self.sign),)


@pytest.mark.parametrize("save", [torch.save, lambda thing, file: file.write_bytes(pickle.dumps(thing))])
def test_a_pickle_that_would_run_code_does_not(tmp_path, save):
    save({"model": Trap(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(BadInput, match="expected"):
        open_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_a_pickled_module_is_read_without_its_class(tmp_path):
    model = NanoGPT()
    torch.save({"epoch": 3, "model": model}, tmp_path / "model.pt")
    checkpoint = open_checkpoint(tmp_path / "model.pt")
    assert set(checkpoint.tensors) == set(model.state_dict())
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(values(checkpoint, name), value.double().numpy())


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_file_cut_short_anywhere_is_refused_in_one_line(tmp_path, suffix):
    state = {name: value.clone() for name, value in NanoGPT(width=8).state_dict().items()}
    file = tmp_path / f"model.{suffix}"
    save_file(state, file) if suffix == "safetensors" else torch.save(state, file)
    whole = file.read_bytes()
    for length in (0, 1, 7, 8, 20, 300, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(BadInput, match="expected") as caught:
            open_checkpoint(file)
        assert "\n" not in str(caught.value)


def header(text):
    return len(text).to_bytes(8, "little") + text.encode()


@pytest.mark.parametrize("content", [
    b"hello, I am a text", header("[]"), header("{nonsense"), header('{"a": 3}'), header("{}"),
    header('{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}') + b"0000",
    header('{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}') + b"0000",
    header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}') + b"0000",
    header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 9999]}}'),
    (2**63).to_bytes(8, "little") + b"{"])
@pytest.mark.parametrize("name", ["model.safetensors", "model"])
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match="expected"):
        open_checkpoint(tmp_path / name)


@pytest.mark.parametrize("places", [None, {}, {"a": 1}, {"a": "../x"}, {"a": "missing.safetensors"},
                                    {"b": "shard.safetensors"}])
def test_bad_indices(tmp_path, places):
    save_file({"a": torch.ones(2, 2)}, tmp_path / "shard.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(BadInput, match="expected"):
        open_checkpoint(tmp_path)


def test_an_index_is_followed_and_not_the_last_shard_that_holds_the_name(tmp_path):
    for number in (1, 2):
        save_file({"a": torch.full((2, 2), float(number)), f"b{number}": torch.ones(2)},
                  tmp_path / f"m-{number}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {
        "a": "m-1.safetensors", "b1": "m-1.safetensors", "b2": "m-2.safetensors"}}))
    checkpoint = open_checkpoint(tmp_path)
    assert set(checkpoint.tensors) == {"a", "b1", "b2"} and (values(checkpoint, "a") == 1).all()


@pytest.mark.parametrize("key", ["", ":anything"])
def test_a_file_with_a_colon_in_its_name_is_a_file(tmp_path, key):
    save_file({"a": torch.ones(2, 2)}, tmp_path / f"m{key}.safetensors")
    assert open_checkpoint(tmp_path / f"m{key}.safetensors").tensors
    with pytest.raises(BadInput, match="no parts with a name: expected no ema"):
        open_checkpoint(f"{tmp_path / f'm{key}.safetensors'}:ema")


def test_folders_without_one_checkpoint(tmp_path):
    with pytest.raises(BadInput, match="no checkpoint in this folder"):
        open_checkpoint(tmp_path)
    for name in ("a", "b"):
        save_file({"a": torch.ones(2, 2)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(BadInput, match=r"a\.safetensors, b\.safetensors"):
        open_checkpoint(tmp_path)
    with pytest.raises(BadInput, match="no such file"):
        open_checkpoint(tmp_path / "missing")
