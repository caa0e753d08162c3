"""Which file of a folder is opened: those of the hub's cache, of DeepSpeed, of training loops."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from variance_dynamics.auditing.checkpoint_files import open_checkpoint
from variance_dynamics.base.errors import BadInput

STATE = {"a.weight": torch.ones(4, 4)}


def filled(folder, *names):
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(STATE, file) if name.endswith("safetensors") else torch.save(STATE, file)
    return folder


@pytest.mark.parametrize("names", [
    ["epoch=3.ckpt"], ["best.pth"], ["pytorch_model.bin", "optimizer.bin", "scheduler.bin"],
    ["model.pt", "optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"],
    ["adapter_model.safetensors", "optimizer.pt", "rng_state_0.pth", "rng_state_1.pth"]])
def test_the_one_checkpoint_among_what_training_loops_write(tmp_path, names):
    assert set(open_checkpoint(filled(tmp_path, *names)).tensors) == {"a.weight"}


@pytest.mark.parametrize("names", [["a.pt", "b.pth"], ["a.ckpt", "b.ckpt"], ["x.npz", "a.bin"]])
def test_several_are_not_chosen_among(tmp_path, names):
    with pytest.raises(BadInput, match="expected one checkpoint, or name the file"):
        open_checkpoint(filled(tmp_path, *names))


def hub(tmp_path, *commits):
    cache = tmp_path / "models--org--name"
    for commit in commits:
        filled(cache, f"blobs/{commit}.safetensors")
        snapshot = cache / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to(cache / "blobs" / f"{commit}.safetensors")
        (snapshot / "config.json").write_text(f'{{"commit": "{commit}"}}')
    return cache


def test_the_hub_s_cache_given_as_any_of_its_folders(tmp_path):
    cache = hub(tmp_path, "abc")
    for place in (cache, cache / "snapshots", cache / "snapshots" / "abc"):
        assert open_checkpoint(place).config["commit"] == "abc"
    hub(tmp_path / "two", "abc", "def")
    with pytest.raises(BadInput, match="snapshots are abc, def: expected one"):
        open_checkpoint(tmp_path / "two" / "models--org--name")
    reference = tmp_path / "two" / "models--org--name" / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text("def\n")
    assert open_checkpoint(reference.parent.parent).config["commit"] == "def"
    reference.write_text("../../../etc")
    with pytest.raises(BadInput, match="snapshots are abc, def"):
        open_checkpoint(reference.parent.parent)


def deepspeed(folder, *files):
    (folder / "zero_to_fp32.py").write_text("print('never run')")
    (folder / "latest").write_text("global_step7")
    for file in files:
        (folder / "global_step7").mkdir(exist_ok=True)
        torch.save({"module": STATE, "optimizer": None, "ds_version": "0.1"}, folder / "global_step7" / file)
    return folder


def test_deepspeed_with_whole_weights_is_read_and_what_is_not_is_said(tmp_path):
    deepspeed(tmp_path, "mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    for place in (tmp_path, tmp_path / "global_step7"):
        checkpoint = open_checkpoint(place)
        assert set(checkpoint.tensors) == {"a.weight"} and "optim_states.pt, was not" in checkpoint.notes[0]


@pytest.mark.parametrize("files", [
    ["zero_pp_rank_0_mp_rank_00_model_states.pt"],
    ["mp_rank_00_model_states.pt", "mp_rank_01_model_states.pt"],
    ["layer_00-model_states.pt", "layer_01-model_states.pt", "mp_rank_00_model_states.pt"]])
def test_deepspeed_with_divided_weights_says_how_to_put_them_together(tmp_path, files):
    deepspeed(tmp_path, *files)
    for place in (tmp_path, tmp_path / "global_step7"):
        with pytest.raises(BadInput, match="zero_to_fp32") as caught:
            open_checkpoint(place)
        assert str(caught.value).endswith(f"makes it in {tmp_path}")


@pytest.mark.parametrize(("name", "content", "message"), [
    ("m.gguf", b"GGUF\x03", "a GGUF file"), ("m.bin", b"GGUF\x03", "a GGUF file"),
    ("m.onnx", b"\x08\x07", "ONNX graph"), ("m.h5", b"\x89HDF\r\n", "HDF5"),
    ("m.keras", b"PK\x03\x04", "HDF5"), ("m.msgpack", b"\x81", "of Flax")])
def test_formats_that_are_not_read_say_what_to_do(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=f"{message}.*expected"):
        open_checkpoint(tmp_path / name)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    arrays = {"params/kernel": np.arange(12.0).reshape(3, 4), "turned": np.arange(6.0).reshape(3, 2).T,
              "half": np.ones((2, 2), np.float16), "ids": np.arange(3), "empty": np.ones((0, 3)),
              "objects": np.ones((2, 2), ">f4")}
    save(tmp_path / "m.npz", **arrays)
    checkpoint = open_checkpoint(tmp_path / "m.npz")
    assert set(checkpoint.skipped) == {"ids", "objects"} and "[out, in]" in checkpoint.notes[0]
    for name, stored in checkpoint.tensors.items():
        np.testing.assert_array_equal(stored.raw(), arrays[name])


def test_an_npz_of_objects_runs_nothing_and_a_bomb_is_refused(tmp_path):
    np.savez(tmp_path / "o.npz", o=np.array([{"a": 1}], dtype=object), w=np.ones((2, 2)))
    assert set(open_checkpoint(tmp_path / "o.npz").tensors) == {"w"}
    np.savez_compressed(tmp_path / "bomb.npz", w=np.zeros((4000, 4000)))
    with pytest.raises(BadInput, match="unpacks to"):
        open_checkpoint(tmp_path / "bomb.npz")


def test_one_shard_alone_is_said_to_be_one(tmp_path):
    filled(tmp_path, "model-00001-of-00003.safetensors")
    assert "one of 3 shards" in open_checkpoint(tmp_path / "model-00001-of-00003.safetensors").notes[0]
