"""The series of a run's checkpoints and the Tracker's table of the same run agree to float32 rounding."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from trained_series import DECAY, LR, WARMUP, made, saved, train
from variance_dynamics import series
from variance_dynamics.base.errors import BadInput
from variance_dynamics.checkpoint_series.report import save_png, to_json, to_text
from variance_dynamics.checkpoint_series.schedule import number_in_pickle, schedule_of
from variance_dynamics.cli import main

LAW = {"lr": LR, "warmup": WARMUP, "weight_decay": DECAY, "schedule": "linear"}
WEIGHTS = ["std", "mean", "rms", "absmax", "kurtosis"]


def differences(tracked, table):
    """Largest difference by statistic: of std, rms and absmax in units of the value, of the others of std.

    transformers saves GPT-NeoX's readout under another name than the model's, so roles and layers are
    compared where a layer has one matrix of a role.
    """
    tracked = tracked[tracked.stat.isin(WEIGHTS)]
    measured = table[table.stat.isin(WEIGHTS)]
    keys = ["step", "layer", "role", "stat"]
    alone = ~tracked.duplicated(keys, keep=False)
    pairs = pd.concat([tracked[alone].merge(measured, on=keys, suffixes=("", "_series")),
                       tracked[~alone].merge(measured, on=[*keys, "name"], suffixes=("", "_series"))])
    assert len(pairs) == len(tracked) == len(measured)
    std = pairs[pairs.stat == "std"].set_index(["step", "layer", "role", "name"]).value
    unit = np.array([std[key] for key in zip(pairs.step, pairs.layer, pairs.role, pairs.name, strict=True)])
    unit = np.where(pairs.stat == "kurtosis", 1.0, np.where(pairs.stat == "mean", unit, pairs.value))
    return (abs(pairs.value - pairs.value_series) / unit).groupby(pairs.stat).max()


@pytest.fixture(scope="module")
def run(llama, tmp_path_factory):
    file = tmp_path_factory.mktemp("tables") / "series.parquet"
    return series(llama[0], path=file, schedule=LAW), llama[1], file


def agree(tracked, table):
    largest = differences(tracked, table)
    print(largest.to_string())
    assert (largest[["std", "rms", "absmax"]] < 5e-7).all() and (largest[["mean", "kurtosis"]] < 5e-6).all()


def test_the_llama_with_grouped_heads(run):
    agree(run[1], run[0].table)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt_neox", "nanogpt"])
def test_fused_heads_and_a_tied_head(tmp_path, family):
    model, logits = made(family)
    tracked = train(model, logits, saved(model, tmp_path / "run", family))
    made_of = series(tmp_path / "run")
    assert made_of.faults == ()
    agree(tracked, made_of.table)


def test_columns_and_order_are_a_tracker_s(run):
    assert list(run[0].table.columns) == list(run[1].columns)
    assert pd.read_parquet(run[2]).equals(run[0].table)


def test_cosines_are_those_of_float64(llama, run):
    from safetensors.torch import load_file

    name = "model.layers.1.self_attn.k_proj.weight"

    def weights(step):
        parts = [load_file(file) for file in (llama[0] / f"checkpoint-{step}").glob("*.safetensors")]
        return next(part[name] for part in parts if name in part).double().flatten()

    table = run[0].table.query(f"name == '{name}'").set_index(["stat", "step"]).value
    for stat, other in (("cosine_init", 0), ("cosine_before", 60)):
        expected = torch.cosine_similarity(weights(90), weights(other), dim=0)
        assert table[stat, 90] == pytest.approx(float(expected), abs=1e-12)
    assert ("cosine_init", 0) not in table.index and ("cosine_before", 0) not in table.index


def test_forecast_reads_the_table(run, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["forecast", "--from", str(run[2]), "--lr", str(LR), "--steps", "210", "--warmup", str(WARMUP),
              "--schedule", "linear"])
    assert ended.value.code == 0 and "of 16 matrices" in capsys.readouterr().out


def test_text_json_and_picture(run, tmp_path):
    text = to_text(run[0])
    assert "8 checkpoints, steps 0 to 210" in text and "the null law at step 210" in text
    assert text.endswith("no fault was found") and len(text.splitlines()) > 20
    law = json.loads(to_json(run[0]))["law"]
    assert law["matrices"] == 16 and [role["role"] for role in law["roles"]][:3] == ["q", "k", "v"]
    save_png(tmp_path / "series.png", run[0])
    assert (tmp_path / "series.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(BadInput, match="expected a file that can be written"):
        save_png(tmp_path / "absent" / "series.png", run[0])


def test_roles_are_chosen(llama):
    made_of = series(llama[0], roles=["q", "k"], steps=[0, 30])
    assert set(made_of.table.role) == {"q", "k"} and set(made_of.table.step) == {0, 30}


def test_without_step_0_there_is_a_note(llama):
    made_of = series(llama[0], steps=[30, 60], schedule=LAW)
    assert made_of.faults == () and made_of.compared is None
    assert "cosine_init" not in set(made_of.table.stat)
    assert any(note.startswith("there is no step 0") for note in made_of.notes)


class Arguments:
    """As transformers.TrainingArguments, which torch.save pickles whole into training_args.bin."""

    def __init__(self):
        self.output_dir, self.do_train, self.learning_rate, self.weight_decay = "out", True, 1e-3, 0.07
        self.adam_beta1, self.max_steps = 0.9, 40


def test_the_lr_of_a_trainer(tmp_path):
    """transformers' Trainer logs at step s the lr that its scheduler has set for update s + 1."""
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    scheduler = get_cosine_schedule_with_warmup(optimizer, 5, 40)
    used, history = [], []
    for step in range(1, 41):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        history.append({"loss": 2.0, "learning_rate": scheduler.get_last_lr()[0], "step": step})
    history.append({"train_runtime": 3.0, "step": 40})
    folder = tmp_path / "checkpoint-40"
    folder.mkdir()
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 40, "log_history": history}))
    torch.save(Arguments(), folder / "training_args.bin")
    assert number_in_pickle(folder / "training_args.bin", "weight_decay") == 0.07
    plan, note = schedule_of([tmp_path, folder], 40, {})
    assert note == "lr from trainer_state.json, weight decay 0.07"
    assert plan.rates == pytest.approx(used, abs=1e-12)
    (folder / "training_args.bin").unlink()
    assert schedule_of([tmp_path, folder], 40, {}) == (
        None, "the lr is in trainer_state.json, but no weight decay is known: give --weight-decay")
    (folder / "trainer_state.json").write_text('{"log_history": [{"learning_rate": "high", "step": 3}]}')
    with pytest.raises(BadInput, match="no log_history with steps and learning rates"):
        schedule_of([folder], 40, {})


def test_a_recorded_run_json_and_what_is_given_come_first(tmp_path):
    knobs = {"lr": 1e-3, "steps": 50, "schedule": "constant", "warmup_steps": 5, "weight_decay": 0.2}
    (tmp_path / "run.json").write_text(json.dumps(knobs))
    plan, note = schedule_of([tmp_path], 40, {})
    assert note == "lr from run.json, weight decay 0.2" and (plan.steps, plan.warmup) == (50, 5)
    assert schedule_of([tmp_path], 40, {"lr": 2e-3})[0].lr == 2e-3
    assert schedule_of([], 40, {})[0] is None
