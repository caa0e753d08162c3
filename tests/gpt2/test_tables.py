"""What a finished run leaves: its files may be read by whoever may read the folder."""

import stat

import torch
from safetensors.torch import load_file

from study.gpt2.tables import save_weights


def test_the_weights_have_the_mode_of_other_outputs(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(path, {"wte.weight": torch.arange(6.0).view(2, 3).T})
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert load_file(path)["wte.weight"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert list(tmp_path.iterdir()) == [path]
