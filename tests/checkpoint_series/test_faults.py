"""A series with faults: each is named, in one line, and nothing else is; and clean series raise no alarm."""

import itertools
import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from networks import mlp
from variance_dynamics import series
from variance_dynamics.cli import main

LAST_SHARD = "model-00003-of-00003.safetensors"


def place(run, step):
    return run / f"checkpoint-{step}"


def copied(run, source, target, file="*.safetensors"):
    """The files of one step in the place of another's."""
    for each in place(run, source).glob(file):
        shutil.copy(each, place(run, target) / each.name)


def changed(run, step, change, file="*.safetensors"):
    """Each tensor of a step as `change(name, tensor)` gives it."""
    for each in place(run, step).glob(file):
        save_file({name: change(name, tensor) for name, tensor in load_file(each).items()}, each)


def mixed(run, step, late):
    """Weights near those of a late step: no other step has the same bytes."""
    for each in place(run, step).glob("*.safetensors"):
        two = [load_file(place(run, number) / each.name) for number in late]
        save_file({name: (two[0][name] + two[1][name]) / 2 for name in two[0]}, each)


@pytest.fixture
def run(llama, tmp_path):
    """A copy of the series, free to be changed."""
    return shutil.copytree(llama[0], tmp_path / "run")


def test_a_clean_series_is_clean(llama):
    for check in (False, True):
        made = series(llama[0], check=check)
        assert made.faults == () and made.exit_code == 0


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_four_faults_are_named_and_nothing_else(run, capsys, check):
    copied(run, 60, 90)
    copied(run, 30, 180, LAST_SHARD)
    changed(run, 0, lambda name, tensor: tensor * 1.3 if "layers.0.self_attn.q_proj" in name else tensor)
    (place(run, 150) / LAST_SHARD).unlink()
    with pytest.raises(SystemExit) as ended:
        main(["series", str(run), "--json", *check])
    faults = json.loads(capsys.readouterr().out)["faults"]
    assert ended.value.code == 1
    assert len(faults) == 4, faults
    shard, duplicate, part, recipe = faults
    assert shard.startswith("step 150: ") and f"names shard '{LAST_SHARD}'" in shard
    assert duplicate == "steps 60 and 90: all 16 tensors are the same bytes"
    assert part == (f"steps 30 and 180: 2 tensors in {LAST_SHARD} are the same bytes; "
                    "by their neighbours they belong to step 30")
    assert recipe.startswith("step 0 is not its recipe, llama: 1 of 16 matrices: "
                             "model.layers.0.self_attn.q_proj.weight off: std x1.3")


def only(run, **options):
    """The one fault, the same by samples as by all values."""
    faults, sampled = series(run, **options).faults, series(run, check=True, **options).faults
    assert len(faults) == len(sampled) == 1, (faults, sampled)
    assert sampled[0].replace(" (of those that were looked at)", "") == faults[0]
    return faults[0]


def test_late_weights_served_as_early(run):
    mixed(run, 30, (180, 210))
    assert only(run).startswith("step 30: weights out of line with the steps before and after")


def test_one_shard_that_was_scaled(run):
    changed(run, 150, lambda name, tensor: tensor * 1.2, LAST_SHARD)
    assert only(run) == f"step 150: {LAST_SHARD}: weights out of line with the steps before and after"


def test_weights_that_were_scaled(run):
    changed(run, 90, lambda name, tensor: tensor * 1.1)
    assert only(run) == "step 90: weights out of line with the steps before and after"


def test_a_step_0_that_nothing_descends_from(run):
    generator = torch.Generator().manual_seed(5)
    changed(run, 0, lambda name, tensor: torch.randn(tensor.shape, generator=generator) * 0.02
            if tensor.ndim > 1 else tensor)
    assert only(run).startswith("step 30 does not descend from step 0: the median cosine is ")
    law = {"lr": 2e-3, "warmup": 20, "schedule": "linear"}
    assert "where decay alone leaves 0." in only(run, schedule=law)


def test_the_last_weights_served_as_step_0(run):
    copied(run, 210, 0)
    same, recipe = series(run).faults
    assert same == ("steps 0 and 210: all 16 tensors are the same bytes; "
                    "by their neighbours they belong to step 210")
    assert recipe.startswith("step 0 is not its recipe") or recipe.startswith("step 0: ")


def test_several_steps_that_serve_one(run):
    for step in (60, 90, 120):
        copied(run, 210, step)
    assert only(run) == ("steps 60, 90, 120 and 210: all 16 tensors are the same bytes; "
                         "by their neighbours they belong to step 210")


def test_nan_and_other_shapes(run):
    def change(name, tensor):
        if name == "model.layers.1.self_attn.q_proj.weight":
            tensor[32, 5] = math.nan
        if name == "model.layers.1.mlp.down_proj.weight":
            return tensor[:, :-1].contiguous()
        return tensor

    changed(run, 90, change)
    faults = series(run).faults
    assert len(faults) == 2, faults
    shape, nan = faults
    assert shape == "step 90: model.layers.1.mlp.down_proj.weight is [64, 127], at step 0 [64, 128]"
    assert nan == "step 90: values NaN or infinite in model.layers.1.self_attn.q_proj.weight"


def test_a_tensor_that_is_missing(run):
    file = place(run, 90) / LAST_SHARD
    tensors = load_file(file)
    index = place(run, 90) / "model.safetensors.index.json"
    places = json.loads(index.read_text())
    name = next(name for name in tensors if name.endswith("weight"))
    del tensors[name], places["weight_map"][name]
    save_file(tensors, file)
    index.write_text(json.dumps(places))
    assert only(run) == f"step 90: {name} is missing"


def test_frozen_matrices_are_a_note(run):
    frozen = load_file(place(run, 0) / LAST_SHARD)["lm_head.weight"]
    for step in range(0, 211, 30):
        changed(run, step, lambda name, tensor: frozen if name == "lm_head.weight" else tensor)
    made = series(run)
    assert made.faults == ()
    assert "1 of 16 tensors with matrices are the same at all steps: lm_head.weight" in made.notes


OPTIMIZERS = {
    "sgd": lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.1),
    "adamw, high lr": lambda weights: torch.optim.AdamW(weights, lr=5e-2, weight_decay=1.0),
    "adamw, low lr": lambda weights: torch.optim.AdamW(weights, lr=3e-4, weight_decay=0.1)}
STEPS = {"log": [0, *(2**power for power in range(10))], "even": range(0, 513, 64), "dense": range(0, 200, 5),
         "two": [0, 512], "three": [0, 256, 512]}


def trajectory(optimizer, warmup, annealed):
    """The weights of an MLP after each step that some series of STEPS has, and the peak lr."""
    torch.manual_seed(0)
    model, generator = mlp((64, 64, 64, 10)), torch.Generator().manual_seed(1)
    made = OPTIMIZERS[optimizer](model.parameters())
    peak, kept = made.param_groups[0]["lr"], {}
    features = torch.randn(512, 64, generator=generator)
    labels = (features @ torch.randn(64, 10, generator=generator)).argmax(1)
    for step in range(513):
        if any(step in steps for steps in STEPS.values()):
            kept[step] = {name: value.clone() for name, value in model.state_dict().items()}
        lr = peak * min(1, (step + 1) / warmup) if warmup else peak
        made.param_groups[0]["lr"] = lr * (0.5 * (1 + math.cos(math.pi * step / 513)) if annealed else 1)
        batch = torch.randint(0, 512, (32,), generator=generator)
        loss = nn.functional.cross_entropy(model(features[batch]), labels[batch])
        made.zero_grad()
        loss.backward()
        made.step()
    return kept, peak


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "warmup", "annealed"),
                         list(itertools.product(OPTIMIZERS, (0, 100), (False, True))))
def test_no_alarm_on_clean_series_of_many_kinds(tmp_path, optimizer, warmup, annealed):
    kept, peak = trajectory(optimizer, warmup, annealed)
    for (name, steps), dtype in itertools.product(STEPS.items(), (torch.float32, torch.bfloat16)):
        folder = tmp_path / f"{name}-{dtype}"
        folder.mkdir()
        for step in steps:
            state = {key: value.to(dtype) for key, value in kept[step].items()}
            save_file(state, folder / f"step{step}.safetensors")
        law = {"lr": peak, "schedule": "cosine" if annealed else "constant",
               "warmup": min(warmup, max(steps))}
        for schedule in (None, law):
            made = series(folder, check=True, recipe="torch_default", schedule=schedule)
            assert made.faults == (), (name, dtype, schedule)


def test_a_norm_of_step_0_that_is_off_is_a_fault(run):
    changed(run, 0, lambda name, tensor: tensor * 0 if "layers.1.input_layernorm" in name else tensor)
    faults = series(run, check=True).faults
    assert faults[-1] == ("step 0 is not its recipe, llama: 1 of 5 norms, biases and scales: "
                          "model.layers.1.input_layernorm.weight off: all zero: expected all 1")
    assert not any("not its recipe" in line for line in series(run, check=True, roles=["q"]).faults)
