"""Checkpoints are whole or not there, found again by their key alone, and load without running code."""

import pickle

import pytest
import torch

from variance_dynamics.training import checkpoint


def state(step):
    return {"step": step, "rows": [[1, ["a"], torch.arange(3) * step]], "by_step": {4: torch.ones(2)}}


def test_the_newest_is_found_and_two_are_kept(tmp_path):
    for step in (100, 200, 1000):
        checkpoint.save(tmp_path / "run", step, state(step))
    found = checkpoint.latest(tmp_path / "run")
    assert found["step"] == 1000 and found["rows"][0][2].tolist() == [0, 1000, 2000]
    assert len(list((tmp_path / "run").iterdir())) == checkpoint.KEPT


@pytest.mark.parametrize("damage", [
    lambda data: data[:-1], lambda data: data[: len(data) // 2], lambda data: b"",
    lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:]])
def test_a_damaged_one_is_passed_over(tmp_path, damage, capsys):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, state(step))
    newest = max(tmp_path.glob("*.pt"))
    newest.write_bytes(damage(newest.read_bytes()))
    assert checkpoint.latest(tmp_path)["step"] == 1
    assert "damaged" in capsys.readouterr().err


def test_half_written_ones_and_none_at_all(tmp_path):
    (tmp_path / "partial").write_bytes(b"half")
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "nothing") is None
    checkpoint.remove(tmp_path / "nothing")


def test_removed_on_success(tmp_path):
    checkpoint.save(tmp_path / "run", 1, state(1))
    checkpoint.remove(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_the_key_holds_params_data_and_code(monkeypatch):
    given = checkpoint.key({"lr": 1e-3}, 0, "data")
    assert given == checkpoint.key({"lr": 1e-3}, 0, "data")
    others = [checkpoint.key({"lr": 1e-4}, 0, "data"), checkpoint.key({"lr": 1e-3}, 1, "data"),
              checkpoint.key({"lr": 1e-3}, 0, "other")]
    assert "variance_dynamics.training.checkpoint" in checkpoint.loaded_code()
    monkeypatch.setattr(checkpoint, "loaded_code", lambda: {"variance_dynamics.seeding": "changed"})
    others.append(checkpoint.key({"lr": 1e-3}, 0, "data"))
    assert len({given, *others}) == 5


def test_a_planted_pickle_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "partial").write_bytes(b"")
    torch.save({"step": Evil()}, tmp_path / "evil")
    digest = checkpoint._digest(tmp_path / "evil")
    (tmp_path / "evil").rename(tmp_path / f"000000001-{digest}.pt")
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.latest(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_it_lies_under_dvc_s_root(monkeypatch):
    monkeypatch.setenv("DVC_ROOT", "/some/where")
    assert str(checkpoint.folder("key")) == "/some/where/.checkpoints/key"
