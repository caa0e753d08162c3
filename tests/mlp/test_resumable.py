"""Grids that are killed while they train: the same bytes in the end, and no finished group trained twice."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from imports import ROOT
from mlp.small_grid import OPTIONS, group, labelled, normal
from study.base import checkpoint_folder, params
from study.base.labelled import Labelled
from study.mlp import grid
from study.mlp.experiments import Resumable
from study.mlp.params import TrainingPlan
from study.mlp.tables import tables

PLAN = TrainingPlan(steps=12, eval_every=5, eval_rows=1000)
DATA = {"clusters": labelled()}
GROUPS = [group(normal(0.1, 0.5, 1e14), optimizer, seed=seed) for optimizer in OPTIONS for seed in range(2)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path / ".checkpoints"


@pytest.fixture
def trained(monkeypatch):
    """A list that receives each group when it is trained."""
    seen = []
    train = grid.train
    monkeypatch.setattr(grid, "train", lambda some, *rest: (seen.append(some), train(some, *rest))[1])
    return seen


def resumable():
    return Resumable(GROUPS, DATA, PLAN, OPTIONS)


def in_full(trained):
    return {name: frame.to_csv() for name, frame in tables(trained, DATA, PLAN).items()}


@pytest.mark.parametrize("finished", [0, 1, 4, 6])
def test_the_others_are_trained_and_the_bytes_are_the_same(finished, place, trained):
    alone = in_full(grid.train_grid(GROUPS, DATA, PLAN, OPTIONS))
    stopped = resumable().train()
    for _ in range(finished):
        next(stopped)
    stopped.close()
    trained.clear()
    again = resumable()
    assert in_full(again.train()) == alone
    assert trained == GROUPS[finished:]
    checkpoint_folder.remove(again.place)
    assert not list(place.glob("*"))


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"",
                                    lambda data: data[:900] + bytes([data[900] ^ 1]) + data[901:]])
def test_a_damaged_group_is_noticed_and_trained_again(damage, place, trained, capsys):
    alone = in_full(resumable().train())
    file, = place.glob("*/group-2/*.pt")
    file.write_bytes(damage(file.read_bytes()))
    trained.clear()
    assert in_full(resumable().train()) == alone
    assert trained == [GROUPS[2]]
    stderr = capsys.readouterr().err
    assert "damaged" in stderr and "5 of 6 groups are finished already" in stderr


def test_groups_of_other_params_or_data_are_not_taken():
    rolled = Labelled(DATA["clusters"].x, {k: np.roll(y, 1) for k, y in DATA["clusters"].y.items()}, 3)
    options = {**OPTIONS, "momentum": {"momentum": 0.8}}
    others = [
        Resumable(GROUPS[1:], DATA, PLAN, OPTIONS),
        Resumable(GROUPS, {"clusters": rolled}, PLAN, OPTIONS),
        Resumable(GROUPS, DATA, TrainingPlan(13, 5, 1000), OPTIONS),
        Resumable(GROUPS, DATA, PLAN, options),
    ]
    assert len({each.place for each in [resumable(), *others]}) == 5
    assert resumable().place == resumable().place


SHORT = {
    "mlp_sweep": {"seeds": 2, "steps": 60, "stds": {"per_decade": 2, "refined_per_decade": 6}},
    "init_comparison": {"seeds": 2, "steps": 30, "depths": [3]},
}

GROUPS_OF = {"mlp_sweep": 12, "init_comparison": 6}

AT_THE_THIRD = """
import os, pathlib, runpy, signal, sys
from study.base import checkpoint
save, left = checkpoint.save, [None] * 3
def then_act(*given):
    save(*given)
    if left:
        left.pop()
        if not left:
            ACTION
checkpoint.save = then_act
runpy.run_module(sys.argv.pop(), run_name="__main__")
"""
KILLED = AT_THE_THIRD.replace("ACTION", "os.kill(os.getpid(), signal.SIGKILL)")
EDITED = AT_THE_THIRD.replace("ACTION", "pathlib.Path('next.yaml').replace('params.yaml')")


def stage(folder, name, how=("-m",)):
    paths = {"PYTHONPATH": str(ROOT / "src"), "DVC_ROOT": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *how, f"study.stages.{name}"]
    return subprocess.run(command, cwd=folder, env={**os.environ, **paths}, stderr=subprocess.PIPE, text=True)


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def prepare(folder):
    """A folder in which the stage trains for some seconds: data of the shape of wine, and small params."""
    (folder / "data/classification").mkdir(parents=True)
    data = labelled(features=13, rows=120)
    parts = {"x": data.x, "y": data.y}
    arrays = {f"{name}_{split}": part[split] for name, part in parts.items() for split in part}
    np.savez(folder / "data/classification/wine.npz", **arrays)
    (folder / "data/classification/manifest.json").write_text('{"wine": {"classes": 3}}', encoding="utf-8")
    study = params.load(ROOT / "params.yaml")
    (folder / "params.yaml").write_text(json.dumps(params.merged(study, SHORT)), encoding="utf-8")


@pytest.mark.parametrize("name", [
    "mlp_sweep", pytest.param("init_comparison", marks=pytest.mark.reliability)])
def test_the_stage_killed_for_good_and_run_again(tmp_path, name):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    prepare(whole)
    prepare(killed)
    ended = stage(whole, name)
    assert ended.returncode == 0, ended.stderr
    ended = stage(killed, name, ("-c", KILLED))
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len(list(killed.glob(".checkpoints/*/*/*.pt"))) == 3
    assert not (killed / "data" / name).exists()
    ended = stage(killed, name)
    assert ended.returncode == 0 and "3 of " in ended.stderr, ended.stderr
    expected = contents(whole / "data" / name)
    assert len(expected) == 3 and contents(killed / "data" / name) == expected
    for folder in (killed, whole):  # until DVC has filed the result
        assert len(list(folder.glob(".checkpoints/*/finished"))) == 1
        assert len(list(folder.glob(".checkpoints/*/*/*.pt"))) == GROUPS_OF[name]


def test_the_stage_whose_params_are_edited_while_it_trains(tmp_path):
    """Its result is not filed under the new values, and is not lost for the old ones."""
    prepare(tmp_path)
    text = (tmp_path / "params.yaml").read_text()
    tree = json.loads(text)
    tree["mlp_sweep"]["optimizers"]["sgd"]["lr"] = 0.07
    (tmp_path / "next.yaml").write_text(json.dumps(tree))
    ended = stage(tmp_path, "mlp_sweep", ("-c", EDITED))
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == ("error: params.yaml: mlp_sweep.optimizers.sgd.lr 0.05 -> 0.07: "
                                             "changed while this stage ran: run it again")
    (tmp_path / "params.yaml").write_text(text)
    ended = stage(tmp_path, "mlp_sweep")
    assert ended.returncode == 0 and "12 of 12 groups are finished already" in ended.stderr, ended.stderr
    assert len(list(tmp_path.glob(".checkpoints/*/finished"))) == 1
