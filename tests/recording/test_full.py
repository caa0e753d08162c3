"""A tiny full run as a user makes it: killed between and within parts, it ends with the same tables."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from imports import ROOT
from study.analysis.params import AnalyzeParams
from study.analysis.source import analyzed
from study.base import params
from study.recording import full

TINY = {
    "classification": {"datasets": ["wine"]},
    "corpus": {"packages": ["tqdm"], "tokenizer": {"vocab_size": 300}},
    "mlp_sweep": {"steps": 20, "seeds": 2, "depths": [2], "tasks": {"wine": {"widths": [16]}},
                  "stds": {"per_decade": 2, "refined_per_decade": 2}},
    "init_comparison": {"steps": 20, "seeds": 2, "depths": [2, 3],
                        "optimizers": {name: {"lrs": [lr]} for name, lr in
                                       (("sgd", 0.03), ("momentum", 0.003), ("adamw", 0.001))}},
    "gpt2": {"val_every": 20, "val_batches": 1, "checkpoint_every": 10},
    "gpt2_presets": {"cpu": {"n_layer": 6, "n_head": 2, "n_embd": 16, "n_ctx": 16, "vocab_size": 300,
                             "batch_size": 4, "micro_batch_size": 4, "steps": 200, "warmup_steps": 10}},
    "analyze": {}, "plot": {},
}
ALL = ["e1-wine-16", "e2-wine-2", "e2-wine-3", "corpus", "e3-gpt2-0", "e3-gpt2-1",
       "e3-constant_lr-0", "e3-constant_lr-1"]
# Whatever the machine says of itself, and when and how long it worked.
VARIES = {"recorded", "wall_seconds", "parts", "machines"}


def repository(folder):
    """A root with a copy of the code, and params with the study `tiny`, two arms and two seeds."""
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "requirements.lock"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "data" / "raw").mkdir(parents=True)
    tree = params.load(ROOT / "params.yaml")
    tree["studies"]["tiny"] = TINY
    tree["gpt2_arms"] = {name: tree["gpt2_arms"][name] for name in ("gpt2", "constant_lr")}
    tree["gpt2"]["seeds"] = [0, 1]
    with (folder / "params.yaml").open("w") as file:
        YAML().dump(tree, file)  # which keeps the order
    return folder


def start(folder, *arguments):
    command = [sys.executable, "-m", "study.recording.full", "--study", "tiny", "--name", "tiny"]
    env = {**os.environ, "PYTHONPATH": str(folder / "src")}
    return subprocess.Popen([*command, *arguments], cwd=folder, env=env, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True, start_new_session=True)


def finish(process):
    _, told = process.communicate(timeout=600)
    assert process.returncode == 0, told
    return told


def killed_when(folder, there, *arguments):
    """Start, and kill all of it as soon as a file matches."""
    process = start(folder, *arguments)
    deadline = time.monotonic() + 300
    while not any(folder.glob(there)):
        assert process.poll() is None and time.monotonic() < deadline, there
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def provenance(folder):
    return json.loads((folder / "data/recorded/tiny/provenance.json").read_text())


def tables(folder):
    kept = folder / "data" / "recorded" / "tiny"
    return {str(path.relative_to(kept)): path.read_bytes() for path in sorted(kept.rglob("*"))
            if path.is_file() and path.name != "provenance.json"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = repository(tmp_path_factory.mktemp("full") / "whole")
    told = finish(start(folder))
    return folder, told


@pytest.mark.slow
def test_it_says_how_long_and_records_all(whole):
    folder, told = whole
    assert re.search(r"8 parts, about .* in all, the longest \S+ with ", told)
    assert re.search(r"part 8 of 8: e3-constant_lr-1, about \d+ s; \d+ s left in all", told)
    found = provenance(folder)
    assert list(found["parts"]) == ALL and found["missing"] == [] and found["study"] == "tiny"
    assert found.keys() == VARIES | {"study", "versions", "missing", "data", "params"}
    assert found["params"]["gpt2_presets"]["cpu"]["steps"] == 200
    assert found["wall_seconds"] == pytest.approx(sum(part["seconds"] for part in found["parts"].values()))
    assert {"wine", "corpus train tokens"} <= found["data"].keys()
    assert found["machines"][0]["cores"] >= 1
    text = (folder / "data/recorded/tiny/provenance.json").read_text()
    assert not any(part in text for part in (str(folder), str(ROOT), str(Path.home()) + "/"))


@pytest.mark.slow
def test_killed_between_and_within_parts_it_ends_with_the_same_tables(whole, tmp_path):
    folder = repository(tmp_path / "killed")
    killed_when(folder, ".full/tiny/e1-wine-16/done.json")
    first = (folder / ".full/tiny/e1-wine-16/done.json").stat().st_mtime_ns
    killed_when(folder, ".full/tiny/e3-gpt2-0/.checkpoints/*/*.pt")
    assert not (folder / ".full/tiny/e3-gpt2-0/done.json").exists()
    told = finish(start(folder))
    (step,) = re.findall(r"gpt2-0: +(\d+)%\|", told.replace("\r", "\n"))[:1]
    assert int(step) > 0, "the run began again and not at its checkpoint"
    assert (folder / ".full/tiny/e1-wine-16/done.json").stat().st_mtime_ns == first
    assert tables(folder) == tables(whole[0])
    found, expected = provenance(folder), provenance(whole[0])
    assert found["parts"]["e3-gpt2-0"]["tries"] == 2 and found["parts"]["e1-wine-16"]["tries"] == 1
    assert all(found[key] == expected[key] for key in found.keys() - VARIES)


@pytest.mark.slow
def test_some_parts_are_recorded_as_some_and_never_replace_more(whole, tmp_path):
    folder = repository(tmp_path / "some")
    finish(start(folder, "e1-wine-16", "e3-constant_lr-1"))
    found = provenance(folder)
    assert list(found["parts"]) == ["e1-wine-16", "corpus", "e3-constant_lr-1"]
    assert found["missing"] == [name for name in ALL if name not in found["parts"]]
    shutil.rmtree(folder / "data/recorded/tiny")
    shutil.copytree(whole[0] / "data/recorded/tiny", folder / "data/recorded/tiny")
    assert "not recorded: " in finish(start(folder, "record"))
    assert tables(folder) == tables(whole[0])


@pytest.mark.slow
@pytest.mark.parametrize("gone", [[], ["mlp_sweep"], ["init_comparison"], ["gpt2"], ["mlp_sweep", "gpt2"],
                                  ["init_comparison", "gpt2"], ["mlp_sweep", "init_comparison"],
                                  ["gpt2/gpt2-0", "gpt2/gpt2-1"], ["gpt2/gpt2-0", "gpt2/constant_lr-0"],
                                  ["gpt2/constant_lr-0", "gpt2/constant_lr-1"]])
def test_what_is_there_is_analysed(whole, tmp_path, gone):
    folder = shutil.copytree(whole[0] / "data/recorded/tiny", tmp_path / "tiny")
    for name in gone:
        shutil.rmtree(folder / name)
    section = params.section(params.read(ROOT / "params.yaml"), "analyze", AnalyzeParams)
    found = analyzed(folder, section.model_copy(update={"bootstrap": 50}), {})
    for name, prefix in (("mlp_sweep", "e1_"), ("init_comparison", "e2_"), ("gpt2", "e3_")):
        assert any(table.startswith(prefix) for table in found.tables) == (name not in gone)


def test_without_mnist_one_line_says_what_goes_where(tmp_path, monkeypatch, capsys):
    folder = repository(tmp_path / "bare")
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        full.main(["--name", "x", "e1-mnist-64"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "MNIST is not in data/raw/mnist: expected train-images-idx3-ubyte" in line and "hub" in line


def test_one_at_a_time(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(repository(tmp_path / "bare"))
    home = Path(".full/tiny").resolve()
    home.mkdir(parents=True)
    with full.locked(home), pytest.raises(SystemExit):
        full.main(["--study", "tiny", "--name", "tiny", "e1"])
    assert "expected one `make full` at a time" in capsys.readouterr().err
