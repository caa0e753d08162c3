"""A sink gets each row once, as it is measured; docs/sinks.md with the libraries that are installed."""

import math
import re

import pandas as pd
import pytest
import torch

from imports import ROOT
from networks import mlp
from variance_dynamics import Tracker

BLOCKS = re.findall(r"^```python\n(.*?)^```\n", (ROOT / "docs" / "sinks.md").read_text(encoding="utf-8"),
                    re.DOTALL | re.MULTILINE)
EXAMPLES = {re.findall(r"def to_(\w+)", block)[0]: block for block in BLOCKS}


def trained(sink, **options):
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    tracker = Tracker(model, optimizer, every=2, sink=sink, **options)
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    tracker.close()
    return tracker


def test_a_sink_gets_each_row_once_at_its_dump():
    given = []
    table = trained(given.append).frame()
    pd.testing.assert_frame_equal(pd.concat(given, ignore_index=True), table)
    assert [list(rows.step.unique()) for rows in given] == [[0], [2], [4]]


def test_after_a_resume_the_sink_gets_what_is_new():
    first, given = trained(lambda rows: None), []
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    second = Tracker(model, optimizer, every=2, start=4, schedule=lambda step: step > 4 and step % 2 == 0,
                     sink=given.append)
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    assert [list(rows.step.unique()) for rows in given] == [[6]]


def test_an_error_in_a_sink_is_not_hidden():
    def broken(rows):
        raise ConnectionError("no network")

    with pytest.raises(ConnectionError, match="no network"):
        trained(broken)


def example(name, **names):
    exec(compile(EXAMPLES[name], f"docs/sinks.md, {name}", "exec"), names)
    return names, names[f"to_{name}"]


@pytest.mark.filterwarnings("default")  # theirs
def test_tensorboard(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    names, sink = example("tensorboard")
    table = trained(sink).frame()
    names["writer"].close()
    events = EventAccumulator("runs/weights")
    events.Reload()
    std = events.Scalars("std/2.weight")
    expected = table[(table.stat == "std") & (table.name == "2.weight")]
    assert [event.step for event in std] == [0, 2, 4]
    assert [event.value for event in std] == pytest.approx(list(expected.value), rel=1e-6)


@pytest.mark.filterwarnings("default")  # theirs
def test_wandb(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = wandb.init(project="p", dir=tmp_path)
    table = trained(example("wandb")[1]).frame()
    last = table[(table.step == 4) & (table.stat == "std") & (table.name == "2.weight")].value.item()
    assert run.summary["std/2.weight"] == pytest.approx(last) and run.summary["weights_step"] == 4
    run.finish()


@pytest.mark.filterwarnings("default")  # theirs
def test_mlflow(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/runs.db")
    with mlflow.start_run() as run:
        table = trained(example("mlflow")[1], measure=["weights"]).frame()
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "std/2.weight")
    expected = table[(table.stat == "std") & (table.name == "2.weight")]
    assert {metric.step: metric.value for metric in history} == pytest.approx(
        dict(zip(expected.step, expected.value, strict=True)))


@pytest.mark.filterwarnings("default")  # theirs
def test_trackio(monkeypatch, tmp_path):
    trackio = pytest.importorskip("trackio")
    logged = []
    monkeypatch.setattr(trackio, "log", lambda values, step=None: logged.append((step, values)))
    table = trained(example("trackio")[1]).frame()
    assert [step for step, _ in logged] == [0, 2, 4]
    row = table[(table.step == 2) & (table.stat == "std") & (table.name == "2.weight")]
    assert math.isclose(logged[1][1]["std/2.weight"], row.value.item())
