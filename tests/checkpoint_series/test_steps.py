"""Which checkpoints a folder holds: steps from names as people have them."""

import json

import pytest
import torch

from variance_dynamics import series
from variance_dynamics.base.errors import BadInput
from variance_dynamics.checkpoint_series.ranges import NoAnswer
from variance_dynamics.checkpoint_series.steps import step_in


@pytest.mark.parametrize(("name", "step"), [
    ("step1000", 1000), ("checkpoint-500", 500), ("ckpt_0001000.pt", 1000), ("step1000-unsharded", 1000),
    ("iter_0001000", 1000), ("global_step143000", 143000), ("epoch=3-step=1200.ckpt", 1200),
    ("step1000-tokens4B", 1000), ("ep1-ba300", 300), ("0000250", 250), ("step-00010000.safetensors", 10000),
    ("checkpoint_12k", 12000), ("step=5.pt", 5), ("model_step_70.bin", 70), ("iteration-8", 8),
    ("stage1-step2000-tokens9B", 2000), ("weights.7.pt", None), ("final", None), ("epoch3", None),
    ("model-7b", None), ("v1.5", None), ("runs", None), ("timestep", None)])
def test_the_step_in_a_name(name, step):
    assert step_in(name) == step


def network(width=8, seed=0):
    torch.manual_seed(seed)
    return {"0.weight": torch.randn(width, width), "2.weight": torch.randn(4, width)}


def save(place, state):
    place.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, place)


def steps_of(folder, **options):
    made = series(folder, recipe="normal", std=1.0, **options)
    return [step.number for step in made.steps], made.notes


def test_files_folders_and_a_trainer_state(tmp_path):
    for number, place in enumerate(["ckpt_0000000.pt", "step20/model.pt", "last/model.pt", "final.pt"]):
        save(tmp_path / place, network(seed=number))
    (tmp_path / "last" / "trainer_state.json").write_text(json.dumps({"global_step": 30}))
    (tmp_path / "log.txt").write_text("loss 3")
    steps, notes = steps_of(tmp_path)
    assert steps == [0, 20, 30] and any("no step is in its name: final.pt" in note for note in notes)
    assert steps_of(tmp_path, steps=["final.pt=40"])[0] == [0, 20, 30, 40]
    assert steps_of(tmp_path, steps=[0, "20"])[0] == [0, 20]


@pytest.mark.parametrize(("given", "message"), [
    (["7"], "steps holds 7: expected one of 0, 20"), (["x=1"], "steps holds x: expected a file or folder"),
    (["a"], "steps holds 'a': expected whole numbers, or NAME=STEP"), (["=3"], "steps holds '=3'")])
def test_steps_that_are_not_there(tmp_path, given, message):
    save(tmp_path / "step0.pt", network())
    save(tmp_path / "step20.pt", network(seed=1))
    with pytest.raises(BadInput, match="steps holds") as problem:
        series(tmp_path, steps=given)
    assert message in str(problem.value)


def test_two_checkpoints_of_one_step_are_refused(tmp_path):
    save(tmp_path / "step20" / "model.pt", network())
    save(tmp_path / "step20-unsharded" / "model.pt", network())
    with pytest.raises(BadInput, match="step20, step20-unsharded are all of step 20: expected one of each"):
        series(tmp_path)


def test_no_series_is_one_line(tmp_path):
    with pytest.raises(BadInput, match="no checkpoints: expected checkpoints with steps in their names"):
        series(tmp_path)
    with pytest.raises(BadInput, match="no folder and no OWNER/NAME of the hub"):
        series(tmp_path / "absent")


def test_roles_that_no_matrix_has(tmp_path):
    save(tmp_path / "step0.pt", network())
    with pytest.raises(BadInput, match="roles holds 'q': expected some of hidden, readout"):
        series(tmp_path, roles=["q"])


@pytest.mark.parametrize("options", [
    {"schedule": "sine"}, {"warmup": 5}, {"weight_decay": 0.3}, {"min_lr_ratio": 0.0}, {"steps": 9}])
def test_options_of_a_schedule_without_an_lr_are_not_ignored(tmp_path, options):
    for step in (0, 10):
        save(tmp_path / f"step{step}.pt", network(seed=step))
    with pytest.raises(BadInput, match="without an lr: expected --lr too, or neither"):
        series(tmp_path, schedule=options)


def test_step_0_alone_has_no_law(tmp_path):
    save(tmp_path / "step0.pt", network())
    assert "there is step 0 alone, so there is no null law" in series(tmp_path, schedule={"lr": 1e-3}).notes


def test_a_pattern_that_matches_nothing_is_said(tmp_path):
    save(tmp_path / "step0.pt", network())
    made = series(tmp_path, patterns={"w_query": "q"})
    assert "pattern 'w_query' matches no parameter, so it gives no role" in made.notes


@pytest.mark.parametrize(("options", "message"), [
    ({"recipe": "gtp2"}, "did you mean gpt2"), ({"std": -1}, "std is -1: expected a number above 0")])
def test_a_recipe_that_is_none_is_no_fault_of_step_0(tmp_path, options, message):
    for step in (10, 20):
        save(tmp_path / f"step{step}.pt", network(seed=step))
    with pytest.raises(BadInput, match=message):
        series(tmp_path, **options)


def test_a_folder_that_is_missing_and_may_be_a_repository_s_name(monkeypatch, tmp_path):
    def unreachable(*_):
        raise NoAnswer("runs/mine: its revisions: no network")

    monkeypatch.setattr("variance_dynamics.checkpoint_series.hub.hub_steps", unreachable)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoAnswer, match=r"no network \(there is no folder runs/mine\)"):
        series("runs/mine")
