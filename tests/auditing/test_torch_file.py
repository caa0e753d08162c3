"""Tensors of .pt files are those that torch reads: types, views, ties, and what cannot be judged."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from variance_dynamics.auditing.audit import audit
from variance_dynamics.auditing.checkpoint_files import open_checkpoint
from variance_dynamics.auditing.tensors import float64
from variance_dynamics.base.errors import BadInput


def opened(tmp_path, saved, **options):
    torch.save(saved, tmp_path / "ckpt.pt", **options)
    return open_checkpoint(tmp_path / "ckpt.pt")


@pytest.mark.parametrize("options", [{}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False}])
def test_views_and_types_are_what_torch_reads(tmp_path, options):
    base = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    state = {"whole": base, "rows": base[2:5], "turned": base.T, "steps": base[::2, 1::3], "one": base[1, 2],
             "four": torch.randn(2, 3, 4, 5).permute(0, 3, 1, 2), "parameter": nn.Parameter(base + 1),
             **{str(dtype): base.to(dtype) for dtype in (torch.float64, torch.float16, torch.bfloat16,
                                                         torch.float8_e4m3fn, torch.float8_e5m2)}}
    with_attributes = nn.Parameter(base + 2)
    vars(with_attributes)["note"] = "kept beside it"
    state["with_attributes"] = with_attributes
    checkpoint = opened(tmp_path, state, **options)
    assert list(checkpoint.tensors) == list(state)
    for name, tensor in state.items():
        stored = checkpoint.tensors[name]
        np.testing.assert_array_equal(float64(stored.raw(), stored.dtype), tensor.detach().double().numpy())


def test_all_256_values_of_each_type_of_eight_bits(tmp_path):
    bits = torch.arange(256, dtype=torch.uint8)
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        tensor = bits.view(dtype).reshape(16, 16)
        stored = opened(tmp_path, {"w": tensor}).tensors["w"]
        np.testing.assert_array_equal(float64(stored.raw(), stored.dtype), tensor.double().numpy())


def test_only_the_same_view_is_tied(tmp_path):
    base = torch.randn(4, 4)
    checkpoint = opened(tmp_path, {"a": base, "b": base, "c": base.T, "d": base.clone(), "e": base[:2]})
    assert checkpoint.tied == {"b": "a"}


@pytest.mark.filterwarnings("ignore")
def test_what_is_left_out_is_named_with_its_type_and_shape(tmp_path):
    state = {"w": torch.randn(8, 8), "ids": torch.arange(4), "mask": torch.ones(2, 2, dtype=torch.bool),
             "wave": torch.ones(2, 2, dtype=torch.complex64), "meta": torch.ones(3, 3, device="meta"),
             "sparse": torch.eye(3).to_sparse(),
             "int8": torch.quantize_per_tensor(torch.ones(3, 3), 0.1, 0, torch.qint8),
             "wide": torch.zeros(1).expand(2**20, 2**20)}
    checkpoint = opened(tmp_path, state)
    assert list(checkpoint.tensors) == ["w"]
    assert checkpoint.skipped.keys() == state.keys() - {"w"}
    assert checkpoint.skipped["ids"] == "int64" and "expanded" in checkpoint.skipped["wide"]
    assert checkpoint.skipped_shapes["wide"] == (2**20, 2**20) and checkpoint.skipped_shapes["mask"] == (2, 2)
    assert any("were left out" in note for note in audit(tmp_path / "ckpt.pt", "normal", 1.0).notes)


def test_many_names_for_few_values_are_refused(tmp_path):
    """They would be measured one after another, for hours."""
    weight = torch.randn(300, 300)
    with pytest.raises(BadInput, match="expected no value in more than 100"):
        opened(tmp_path, {f"{number}.weight": weight for number in range(300)})


@pytest.mark.parametrize("suffix", ["pt", "npz", "safetensors"])
def test_no_file_needs_torch_and_none_imports_it(tmp_path, suffix):
    from safetensors.torch import save_file

    state, file = {"a.weight": torch.ones(4, 4)}, tmp_path / f"m.{suffix}"
    write = {"pt": lambda: torch.save(state, file), "safetensors": lambda: save_file(state, file),
             "npz": lambda: np.savez(file, **{name: value.numpy() for name, value in state.items()})}
    write[suffix]()
    code = ("import sys; from variance_dynamics.auditing.checkpoint_files import open_checkpoint; "
            "print(open_checkpoint(sys.argv[1]).tensors['a.weight'].raw().sum(), 'torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["16.0", "False"]
