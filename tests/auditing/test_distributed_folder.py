"""Folders of torch.distributed.checkpoint, written by torch itself, and by several processes by hand."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import metadata as m
from torch.distributed.checkpoint.filesystem import _StorageInfo

from imports import ROOT
from networks import NanoGPT
from reliability.damaged_files import damaged
from variance_dynamics.auditing.audit import audit
from variance_dynamics.auditing.checkpoint_files import open_checkpoint
from variance_dynamics.auditing.tensors import float64, measure
from variance_dynamics.base.errors import BadInput

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed", "ignore:TypedStorage")


def values(checkpoint, name):
    stored = checkpoint.tensors[name]
    return float64(stored.raw(), stored.dtype)


@pytest.fixture
def folder(tmp_path):
    """A model with its optimizer, as a training script saves them."""
    model = NanoGPT(width=16)
    optimizer = torch.optim.AdamW(model.parameters())
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 3}
    dcp.save(state, checkpoint_id=tmp_path / "step-3", no_dist=True)
    return tmp_path / "step-3", state["model"]


def test_the_model_is_read_and_the_optimizer_is_not(folder):
    path, state = folder
    checkpoint = open_checkpoint(path)
    assert checkpoint.tensors.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(values(checkpoint, name), value.double().numpy())
    assert len(audit(path, trained=True).rows) == 15


def test_a_model_whose_names_lie_at_the_top(tmp_path):
    dcp.save(NanoGPT(width=16).state_dict(), checkpoint_id=tmp_path, no_dist=True)
    assert set(open_checkpoint(tmp_path).tensors) == set(NanoGPT(width=16).state_dict())


def write_chunks(folder, whole, places, dropped=()):
    """A tensor that two processes hold in parts; the file of each is what torch writes for a process."""
    chunks, storage = [], {}
    for rank, (rows, columns) in enumerate(places):
        part = whole[rows, columns].clone()
        offset = torch.Size([rows.start, columns.start])
        torch.save(part, folder / f"__{rank}_0.distcp")
        chunks.append(m.ChunkStorageMetadata(offset, part.shape))
        size = (folder / f"__{rank}_0.distcp").stat().st_size
        storage[m.MetadataIndex("w", offset, rank)] = _StorageInfo(f"__{rank}_0.distcp", 0, size)
    properties = m.TensorProperties(dtype=whole.dtype)
    kept = [chunk for rank, chunk in enumerate(chunks) if rank not in dropped]
    tensors = {"w": m.TensorStorageMetadata(properties, whole.shape, kept)}
    (folder / ".metadata").write_bytes(pickle.dumps(m.Metadata(tensors, None, storage)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_chunks_of_several_processes_are_put_together(tmp_path, dtype):
    whole = torch.randn(8, 6).to(dtype)
    below = [(slice(5, 8), slice(0, 2)), (slice(5, 8), slice(2, 6))]
    write_chunks(tmp_path, whole, [(slice(0, 5), slice(0, 6)), *below])
    np.testing.assert_array_equal(values(open_checkpoint(tmp_path), "w"), whole.double().numpy())


def test_chunks_that_lie_on_one_another_leave_nan_and_are_no_number_out_of_nowhere(tmp_path):
    write_chunks(tmp_path, torch.ones(8, 6), [(slice(0, 4), slice(0, 6)), (slice(0, 4), slice(0, 6))])
    assert np.isnan(values(open_checkpoint(tmp_path), "w")).sum() == 24


@pytest.mark.parametrize("harm", ["missing chunk", "missing file", "cut file", "text", "elsewhere"])
def test_a_folder_that_is_not_whole_is_refused_in_one_line(tmp_path, harm):
    places = [(slice(0, 5), slice(0, 6)), (slice(5, 8), slice(0, 6))]
    write_chunks(tmp_path, torch.ones(8, 6), places, dropped=[1] if harm == "missing chunk" else [])
    file = tmp_path / "__1_0.distcp"
    if harm == "missing file":
        file.unlink()
    elif harm == "cut file":
        file.write_bytes(file.read_bytes()[:-1])
    elif harm == "text":
        (tmp_path / ".metadata").write_text("hello")
    elif harm == "elsewhere":
        content = (tmp_path / ".metadata").read_bytes()
        (tmp_path / ".metadata").write_bytes(content.replace(b"__1_0.distcp", b"../../passwd"))
    with pytest.raises(BadInput, match="expected") as caught:
        open_checkpoint(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_damaged_folders_are_read_or_refused(folder, name):
    path, random, refused = folder[0], np.random.default_rng(0), 0
    honest = (path / name).read_bytes()
    for _ in range(25):
        (path / name).write_bytes(damaged(honest, random))
        try:
            for stored in open_checkpoint(path).tensors.values():
                measure(stored.raw(), stored.dtype)
        except BadInput as problem:
            refused += 1
            assert str(path) in str(problem) and len(str(problem)) < 700
    assert refused > 5


SHARDED = """
import sys, torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from networks import NanoGPT

dist.init_process_group("gloo")
model = NanoGPT(width=16)
model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
if dist.get_rank() == 0:
    torch.save(model.state_dict(), sys.argv[2])
fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
for parameter in model.parameters():
    parameter.grad = torch.zeros_like(parameter)
optimizer.step()
states = get_state_dict(model, optimizer)
dcp.save({"model": states[0], "optim": states[1], "step": 3}, checkpoint_id=sys.argv[1])
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_what_two_processes_of_fsdp_save(tmp_path):
    (tmp_path / "train.py").write_text(SHARDED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               tmp_path / "train.py", tmp_path / "step-3", tmp_path / "whole.pt"]
    path = os.pathsep.join(str(ROOT / folder) for folder in ("tests", "src"))
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": path})
    checkpoint, whole = open_checkpoint(tmp_path / "step-3"), torch.load(tmp_path / "whole.pt")
    assert checkpoint.tensors.keys() == whole.keys() and not checkpoint.notes
    for name, value in whole.items():
        np.testing.assert_array_equal(values(checkpoint, name), value.double().numpy())
