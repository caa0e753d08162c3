"""Callbacks: with the libraries themselves where they are installed, and their calls made by hand."""

import sys
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from variance_dynamics.adapters import hugging_face, lightning
from variance_dynamics.base.errors import BadInput
from variance_dynamics.tracking.optimizers import inner
from variance_dynamics.tracking.tracker import Tracker


class Regression(nn.Module):
    """Takes and gives what transformers' Trainer expects."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.head = nn.Linear(6, 8), nn.Linear(8, 1)

    def forward(self, x, labels=None):
        return {"loss": (self.head(self.fc(x).relu()).squeeze(-1) - labels).square().mean()}


ROWS = [{"x": [float(i % (j + 2)) for j in range(6)], "labels": float(i % 3)} for i in range(32)]
MOVING = {"every": 1, "windows": [2], "measure": ["weights", "gradients", "updates", "displacement"]}


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
    args = SimpleNamespace(output_dir=tmp_path)
    callback.on_train_begin(args, state, None, model=model, optimizer=wrapped)
    train(model, optimizer, 3)
    callback.on_save(args, state, None)
    check(tmp_path / "run.parquet", range(7, 11))
    callback.on_train_end(args, state, None)


def train(model, optimizer, steps):
    batch = {key: torch.tensor([row[key] for row in ROWS]) for key in ("x", "labels")}
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch)["loss"].backward()
        optimizer.step()


def unbroken(steps):
    """The table of a run that was never stopped."""
    model = Regression()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    tracker = Tracker(model, optimizer, **MOVING)
    train(model, optimizer, steps)
    return tracker.frame()


def test_a_resumed_transformers_trainer_goes_on_with_its_table_or_overwrites_nothing(tmp_path):
    path, args = tmp_path / "run.parquet", SimpleNamespace(output_dir=str(tmp_path))
    model = Regression()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first, state = hugging_face(path=path, **MOVING), SimpleNamespace(global_step=0)
    first.on_train_begin(args, state, None, model=model, optimizer=optimizer)
    train(model, optimizer, 3)
    state.global_step = 3
    (tmp_path / "checkpoint-3").mkdir()
    first.on_save(args, state, None)
    first.on_train_end(args, state, None)
    second = hugging_face(path=path, **MOVING)
    second.on_train_begin(args, state, None, model=model, optimizer=optimizer)
    train(model, optimizer, 2)
    second.on_train_end(args, state, None)
    pd.testing.assert_frame_equal(pd.read_parquet(path), unbroken(5))

    (tmp_path / "checkpoint-3" / "tracker.pt").unlink()
    kept = path.read_bytes()
    with pytest.raises(BadInput, match=r"'.*run\.parquet'.* at the resumed step 3, .*: expected a new name"):
        hugging_face(path=path, **MOVING).on_train_begin(args, state, None, model=model, optimizer=optimizer)
    assert path.read_bytes() == kept
    with pytest.warns(UserWarning, match=r"resumed at step 3 without the weights of the start"):
        hugging_face(path=tmp_path / "new.parquet", **MOVING).on_train_begin(
            args, state, None, model=model, optimizer=optimizer)


def test_transformers_trainer_itself(tmp_path):
    pytest.importorskip("accelerate")
    import transformers

    arguments = transformers.TrainingArguments(
        str(tmp_path), per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=6,
        report_to=[], disable_tqdm=True, save_strategy="no", use_cpu=True)
    callback = hugging_face(every=2, path=tmp_path / "run.parquet")
    transformers.Trainer(Regression(), arguments, train_dataset=ROWS, callbacks=[callback]).train()
    check(tmp_path / "run.parquet", (0, 2, 4, 6))


def test_transformers_trainer_itself_resumed(tmp_path):
    pytest.importorskip("accelerate")
    import transformers

    for steps in (4, 6):
        arguments = transformers.TrainingArguments(
            str(tmp_path), per_device_train_batch_size=4, max_steps=steps, report_to=[], disable_tqdm=True,
            save_steps=2, use_cpu=True)
        callback = hugging_face(path=tmp_path / "run.parquet", **MOVING)
        trainer = transformers.Trainer(Regression(), arguments, train_dataset=ROWS, callbacks=[callback])
        trainer.train(resume_from_checkpoint=steps == 6)
    whole_and_moving(tmp_path / "run.parquet", 7)


def whole_and_moving(path, steps):
    check(path, range(steps))
    table = pd.read_parquet(path)
    moved = table[(table.stat == "delta_ms_init") & (table.name == "fc.weight")].set_index("step").value
    assert list(moved.index) == list(range(1, steps))
    assert moved.gt(0).all()


@pytest.fixture
def library(monkeypatch):
    """A Lightning that has nothing but its base class."""
    library = ModuleType("lightning.pytorch")
    library.Callback = type("Callback", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning", ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, "lightning.pytorch", library)
    return library


def test_resumed_lightning_goes_on_with_its_table_or_overwrites_nothing(tmp_path, library):
    path, model = tmp_path / "run.parquet", Regression()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = lightning(path=path, **MOVING)
    assert first.state_dict() == {} and first.state_key == "Tracker(run.parquet)"
    first.on_train_start(SimpleNamespace(optimizers=[optimizer], global_step=0), model)
    train(model, optimizer, 3)
    torch.save(first.state_dict(), tmp_path / "saved.ckpt")
    first.on_train_end(None, model)
    resumed = SimpleNamespace(optimizers=[optimizer], global_step=3)
    kept = path.read_bytes()
    with pytest.raises(BadInput, match=r"'.*run\.parquet'.* at the resumed step 3, .*: expected a new name"):
        lightning(path=path, **MOVING).on_train_start(resumed, model)
    assert path.read_bytes() == kept

    second = lightning(path=path, **MOVING)
    second.load_state_dict(torch.load(tmp_path / "saved.ckpt", weights_only=True))
    second.on_train_start(resumed, model)
    train(model, optimizer, 2)
    second.on_train_end(None, model)
    pd.testing.assert_frame_equal(pd.read_parquet(path), unbroken(5))


def test_calls_of_lightning(tmp_path, library):
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
    measured = table[(table.stat == "grad_norm") & (table.name == "fc.weight")].value
    assert list(measured) == pytest.approx(norms, rel=1e-5), "as before clipping"


def fit(folder, steps, checkpoint=None, **options):
    """Lightning itself, with a new module; its checkpoint is `folder`/last.ckpt."""
    pl = pytest.importorskip("lightning.pytorch")

    class Module(pl.LightningModule):  # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            self.fc, self.head = nn.Linear(6, 8), nn.Linear(8, 1)

        def training_step(self, batch):
            return Regression.forward(self, **batch)["loss"]

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

    rows = [{key: torch.tensor(value) for key, value in row.items()} for row in ROWS]
    callbacks = [lightning(path=folder / "run.parquet", **options), lightning(every=3)]
    trainer = pl.Trainer(max_steps=steps, accumulate_grad_batches=2, gradient_clip_val=0.5,
                         callbacks=callbacks, logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, accelerator="cpu", enable_model_summary=False,
                         default_root_dir=folder)
    trainer.fit(Module(), torch.utils.data.DataLoader(rows, batch_size=4), ckpt_path=checkpoint)
    trainer.save_checkpoint(folder / "last.ckpt")


def test_lightning_itself(tmp_path):
    fit(tmp_path, 4, every=2)
    check(tmp_path / "run.parquet", (0, 2, 4))


def test_lightning_itself_resumed(tmp_path):
    fit(tmp_path, 4, **MOVING)
    fit(tmp_path, 8, tmp_path / "last.ckpt", **MOVING)
    whole_and_moving(tmp_path / "run.parquet", 9)


def test_a_library_that_is_not_there(monkeypatch):
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BadInput, match=r"lightning\.pytorch is not installed: expected it for its callback"):
        lightning(every=1)
