"""Checkpoints damaged in every way: read, or refused in one line; nothing else is raised."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reliability.damaged_files import damaged
from variance_dynamics.auditing.checkpoint_files import open_checkpoint
from variance_dynamics.auditing.tensors import measure
from variance_dynamics.base.errors import BadInput

STATE = {f"h.{number}.weight": torch.ones(4, 6) for number in range(6)} | {"b": torch.ones(3).bfloat16()}


def save(file, kind):
    if kind == "safetensors":
        save_file(STATE, file)
    else:
        torch.save(STATE, file, _use_new_zipfile_serialization=kind == "pt")


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("kind", ["safetensors", "pt", "old.pt"])
@pytest.mark.parametrize("count", [100, pytest.param(3000, marks=pytest.mark.reliability)])
def test_damaged_checkpoints_are_read_or_refused(tmp_path, kind, count):
    file, random = tmp_path / f"a.{kind}", np.random.default_rng(0)
    save(file, kind)
    honest, refused = file.read_bytes(), 0
    for _ in range(count):
        file.write_bytes(damaged(honest, random))
        try:
            for stored in open_checkpoint(file).tensors.values():
                measure(stored.raw(), stored.dtype)
        except BadInput as problem:
            refused += 1
            assert str(file) in str(problem) and "\n" not in str(problem) and len(str(problem)) < 600
    assert count / 2 < refused < count


@pytest.mark.parametrize("name", ["a.safetensors", "a.safetensors.index.json"])
def test_headers_nested_without_end(tmp_path, name):
    nested = b'{"a":' * 20_000
    length = b"" if name.endswith("json") else len(nested).to_bytes(8, "little")
    (tmp_path / name).write_bytes(length + nested)
    with pytest.raises(BadInput, match="no JSON object"):
        open_checkpoint(tmp_path / name)


def test_a_zip_of_another_disk(tmp_path):
    """What zipfile itself raises is refused as well."""
    save(tmp_path / "a.pt", "pt")
    content = bytearray((tmp_path / "a.pt").read_bytes())
    locator = content.rfind(b"PK\x06\x07")
    assert locator > 0
    content[locator + 16] = 7
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(BadInput, match="expected a whole"):
        open_checkpoint(tmp_path / "a.pt")
