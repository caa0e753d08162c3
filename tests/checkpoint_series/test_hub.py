"""The hub's repositories, from a local server that speaks its interface: what is read, failures, kills."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from hub_server import REPOSITORY, Hub, served

WIDTH, LAYERS = 384, 3
ASKED = ("q", "k", "v")


def state(step):
    """A made Llama, moved away from its init by noise that grows with the step."""
    shapes = {"model.embed_tokens.weight": (512, WIDTH), "lm_head.weight": (512, WIDTH)}
    for layer in range(LAYERS):
        for part in "qkvo":
            shapes[f"model.layers.{layer}.self_attn.{part}_proj.weight"] = (WIDTH, WIDTH)
        for part in ("gate", "up"):
            shapes[f"model.layers.{layer}.mlp.{part}_proj.weight"] = (2 * WIDTH, WIDTH)
        shapes[f"model.layers.{layer}.mlp.down_proj.weight"] = (WIDTH, 2 * WIDTH)
    start, noise = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    tensors = {}
    for name, shape in shapes.items():
        tensors[name] = 0.02 * torch.randn(shape, generator=start)
        for _ in range(step // 100):
            tensors[name] += 0.003 * torch.randn(shape, generator=noise)
    return tensors


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Revisions step0 ... step400, each in two shards, and a branch main that names no step."""
    root = tmp_path_factory.mktemp("revisions")
    for step in range(0, 401, 100):
        folder = root / f"step{step}"
        folder.mkdir()
        tensors = state(step)
        names = list(tensors)
        halves = {"model-00001-of-00002.safetensors": names[: len(names) // 2],
                  "model-00002-of-00002.safetensors": names[len(names) // 2 :]}
        for file, held in halves.items():
            save_file({name: tensors[name] for name in held}, folder / file)
        places = {name: file for file, held in halves.items() for name in held}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
        (folder / "config.json").write_text(json.dumps({"num_attention_heads": 8, "num_key_value_heads": 8}))
        (folder / "training_args.bin").write_bytes(b"\0" * 100_000)  # not to be read
    return {f"step{step}": root / f"step{step}" for step in range(0, 401, 100)} | {"main": root / "step400"}


def allowed(folders):
    """Bytes of the headers, the small files and the tensors asked for, in the five steps."""
    total = 0
    for name, folder in folders.items():
        if name == "main":
            continue
        for file in folder.glob("*.safetensors"):
            size = int.from_bytes(file.read_bytes()[:8], "little")
            header = json.loads(file.read_bytes()[8 : 8 + size])
            total += 8 + size
            for tensor, entry in header.items():
                if any(f".{role}_proj." in tensor for role in ASKED):
                    total += entry["data_offsets"][1] - entry["data_offsets"][0]
        total += sum(file.stat().st_size for file in folder.glob("*.json"))
    return total


def started(url, tmp_path, *arguments):
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "a-token",
                   "HF_HOME": str(tmp_path / "hf")}
    command = [sys.executable, "-m", "variance_dynamics.cli", "series", REPOSITORY, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=environment, cwd=tmp_path)


def run(url, tmp_path, *arguments):
    process = started(url, tmp_path, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def clean(folders, tmp_path_factory):
    """(the table's bytes, the bytes that were sent, the table)."""
    folder = tmp_path_factory.mktemp("clean")
    with served(hub := Hub(folders)) as url:
        code, out, err = run(url, folder, "--roles", *ASKED, "--table", "t.parquet")
    assert code == 0, out + err
    return (folder / "t.parquet").read_bytes(), hub, pd.read_parquet(folder / "t.parquet"), out


def test_headers_and_what_is_asked_for_are_read_and_nothing_else(folders, clean):
    bytes_sent, limit = clean[1].sent, allowed(folders)
    print(f"sent {bytes_sent:,}, headers and tensors {limit:,}, of {size(folders):,}")
    assert bytes_sent <= 1.01 * limit < 0.5 * size(folders)
    assert f"read over the network: {bytes_sent:,} bytes" in clean[3]
    assert not [path for path, _ in clean[1].requests if "training_args" in path]
    assert {token for _, token in clean[1].requests} == {"Bearer a-token"}


def size(folders):
    return sum(file.stat().st_size for name, folder in folders.items() if name != "main"
               for file in folder.iterdir())


def test_the_table_has_commits_and_is_that_of_the_files(folders, clean, tmp_path):
    from variance_dynamics import series

    table, commits = clean[2], clean[1].names
    assert {step: set(rows.commit) for step, rows in table.groupby("step")} == {
        step: {commits[f"step{step}"]} for step in range(0, 401, 100)}
    (tmp_path / "all").mkdir()
    for name, folder in folders.items():
        if name != "main":
            (tmp_path / "all" / name).symlink_to(folder)
    local = series(tmp_path / "all", roles=ASKED).table
    assert table.drop(columns="commit").equals(local)
    assert len(table) == 5 * 9 * 5 + 2 * 4 * 9 and np.isfinite(table.value).all()


@pytest.mark.parametrize("share", [0.04, pytest.param(0.25, marks=pytest.mark.slow)])
def test_failures_change_nothing(folders, clean, tmp_path, share):
    with served(hub := Hub(folders, failures=share)) as url:
        code, out, err = run(url, tmp_path, "--roles", *ASKED, "--table", "t.parquet")
    assert code == 0 and hub.failed >= 3, (out, err, hub.failed)
    assert (tmp_path / "t.parquet").read_bytes() == clean[0]
    assert hub.sent <= 1.01 * allowed(folders)
    assert not list(tmp_path.glob("*.parts"))


def test_a_killed_run_goes_on(folders, clean, tmp_path):
    arguments = ("--roles", *ASKED, "--table", "t.parquet")
    with served(hub := Hub(folders)) as url:
        process = started(url, tmp_path, *arguments)
        while hub.sent < clean[1].sent / 2 and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.communicate()
        assert process.returncode < 0 and not (tmp_path / "t.parquet").exists()
        code, _, err = run(url, tmp_path, *arguments)
    assert code == 0, err
    assert (tmp_path / "t.parquet").read_bytes() == clean[0]
    assert hub.sent <= 1.01 * allowed(folders) + 2 * 4 * WIDTH**2  # the tensor that was on its way


def test_a_server_that_stops_is_one_line_and_the_next_run_goes_on(folders, clean, tmp_path):
    arguments = ("--roles", *ASKED, "--table", "t.parquet")
    first = Hub(folders, stop_after=clean[1].sent // 3)
    with served(first) as url:
        code, _, err = run(url, tmp_path, *arguments)
    last = err.splitlines()[-1]
    assert code == 2 and last.startswith("error: ") and "the same command goes on from here" in last
    with served(second := Hub(folders)) as url:
        code, _, err = run(url, tmp_path, *arguments)
    assert code == 0 and (tmp_path / "t.parquet").read_bytes() == clean[0]
    assert first.sent + second.sent <= 1.01 * allowed(folders)


def test_check_reads_samples_and_step_0(folders, tmp_path):
    with served(hub := Hub(folders)) as url:
        code, out, err = run(url, tmp_path, "--check", "--roles", *ASKED)
    assert code == 0, out + err
    assert hub.sent < 0.4 * allowed(folders)


def test_a_revision_that_serves_another_s_files(folders, tmp_path):
    wrong = folders | {"step100": folders["step400"]}
    with served(hub := Hub(wrong)) as url:
        code, out, _ = run(url, tmp_path, "--check", "--roles", *ASKED)
    assert code == 1
    assert ("fault: steps 100 and 400: all 9 tensors are the same bytes; "
            "by their neighbours they belong to step 400") in out
    assert hub.sent < 0.4 * allowed(folders)  # by the hashes that the hub has of its files


def test_bin_files_are_read_whole_and_that_is_said(tmp_path):
    folders = {}
    for step in (0, 100):
        folders[f"step{step}"] = tmp_path / f"step{step}"
        folders[f"step{step}"].mkdir()
        torch.save(state(step), folders[f"step{step}"] / "pytorch_model.bin")
    with served(hub := Hub(folders)) as url:
        code, out, err = run(url, tmp_path, "--roles", *ASKED)
    assert code == 0, out + err
    assert "note: .bin files are read whole" in out
    assert hub.sent == sum(file.stat().st_size for folder in folders.values() for file in folder.iterdir())


def test_a_server_without_ranges_is_refused(folders, tmp_path):
    with served(Hub(folders, ranges=False)) as url:
        code, _, err = run(url, tmp_path, "--roles", *ASKED)
    assert code == 2 and "expected 206, from a server that speaks ranges" in err.splitlines()[-1]


def test_a_repository_or_a_revision_that_is_not_there(folders, tmp_path):
    with served(Hub(folders)) as url:
        code, _, err = run(url, tmp_path, "--revisions", "iter*")
        assert code == 2 and "no checkpoints: expected" in err
    with served(Hub({})) as url:
        code, _, err = run(url, tmp_path)
    assert code == 2 and err.count("\n") == 1
