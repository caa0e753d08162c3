"""Callbacks: with the libraries themselves where they are installed, and their calls made by hand."""

import sys
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from variance_dynamics.errors import BadInput
from variance_dynamics.tracking.adapters import hugging_face, inner, lightning


class Regression(nn.Module):
    """Takes and gives what transformers' Trainer expects."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.head = nn.Linear(6, 8), nn.Linear(8, 1)

    def forward(self, x, labels=None):
        return {"loss": (self.head(self.fc(x).relu()).squeeze(-1) - labels).square().mean()}


ROWS = [{"x": [float(i % (j + 2)) for j in range(6)], "labels": float(i % 3)} for i in range(32)]


def check(path, steps):
    table = pd.read_parquet(path)
    assert sorted(table.step.unique()) == list(steps)
    assert set(table.name) == {"fc.weight", "head.weight"}
    assert table[(table.stat == "update_rms") & (table.step == steps[-1])].value.between(0.05, 3).all()


def test_calls_of_transformers_trainer(tmp_path):
    model = Regression()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    wrapped = SimpleNamespace(optimizer=optimizer)
    assert inner(wrapped) is optimizer
    state = SimpleNamespace(global_step=7)
    callback = hugging_face(every=1, path=tmp_path / "run.parquet")
    callback.on_train_begin(None, state, None, model=model, optimizer=wrapped)
    for _ in range(3):
        batch = {key: torch.tensor([row[key] for row in ROWS]) for key in ("x", "labels")}
        optimizer.zero_grad()
        model(**batch)["loss"].backward()
        optimizer.step()
    callback.on_save(None, state, None)
    check(tmp_path / "run.parquet", range(7, 11))
    callback.on_train_end(None, state, None)


def test_transformers_trainer_itself(tmp_path):
    pytest.importorskip("accelerate")
    import transformers

    arguments = transformers.TrainingArguments(
        str(tmp_path), per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=6,
        report_to=[], disable_tqdm=True, save_strategy="no", use_cpu=True)
    callback = hugging_face(every=2, path=tmp_path / "run.parquet")
    transformers.Trainer(Regression(), arguments, train_dataset=ROWS, callbacks=[callback]).train()
    check(tmp_path / "run.parquet", (0, 2, 4, 6))


def test_calls_of_lightning(tmp_path, monkeypatch):
    library = ModuleType("lightning.pytorch")
    library.Callback = type("Callback", (), {})
    monkeypatch.setitem(sys.modules, "lightning", ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, "lightning.pytorch", library)
    model = Regression()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    trainer = SimpleNamespace(optimizers=[optimizer], global_step=0)
    callback = lightning(every=1, path=tmp_path / "run.parquet")
    assert isinstance(callback, library.Callback)
    callback.on_train_start(trainer, model)
    batch = {key: torch.tensor([row[key] for row in ROWS]) for key in ("x", "labels")}

    def closure():
        optimizer.zero_grad()
        loss = model(**batch)["loss"]
        loss.backward()
        callback.on_before_optimizer_step(trainer, model, optimizer)
        norms.append(model.fc.weight.grad.norm().item())
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        return loss

    norms = []
    for _ in range(2):
        optimizer.step(closure)
    callback.on_exception(trainer, model, KeyboardInterrupt())
    check(tmp_path / "run.parquet", (0, 1, 2))
    table = pd.read_parquet(tmp_path / "run.parquet")
    found = table[(table.stat == "grad_norm") & (table.name == "fc.weight")].value
    assert list(found) == pytest.approx(norms, rel=1e-5), "as before clipping"


def test_lightning_itself(tmp_path):
    pl = pytest.importorskip("lightning.pytorch")

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.fc, self.head = nn.Linear(6, 8), nn.Linear(8, 1)

        def training_step(self, batch):
            return Regression.forward(self, **batch)["loss"]

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

    rows = [{key: torch.tensor(value) for key, value in row.items()} for row in ROWS]
    callback = lightning(every=2, path=tmp_path / "run.parquet")
    trainer = pl.Trainer(max_steps=4, accumulate_grad_batches=2, gradient_clip_val=0.5, callbacks=[callback],
                         logger=False, enable_checkpointing=False, enable_progress_bar=False,
                         accelerator="cpu", enable_model_summary=False, default_root_dir=tmp_path)
    trainer.fit(Module(), torch.utils.data.DataLoader(rows, batch_size=4))
    check(tmp_path / "run.parquet", (0, 2, 4))


def test_a_library_that_is_not_there(monkeypatch):
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BadInput, match=r"lightning\.pytorch is not installed: expected it for its callback"):
        lightning(every=1)
