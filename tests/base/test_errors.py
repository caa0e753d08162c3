"""What a person can put right ends in one line and a status; anything else keeps its traceback."""

import errno
import os
import subprocess
import sys

import pytest
import torch

from imports import ROOT
from variance_dynamics.base.errors import BadInput, one_line, with_a_line


@pytest.mark.parametrize(
    ("problem", "status", "message"),
    [
        (BadInput("lr is 0:\nexpected more"), 2, "error: lr is 0: expected more"),
        (OSError(errno.ENOSPC, "Disk full", "data/x"), 1, "error: data/x: Disk full"),
        (OSError("disk is gone"), 1, "error: disk is gone"),
        (MemoryError(), 1, "error: out of memory: expected more of it"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
    ],
)
def test_what_a_person_can_put_right_is_one_line(capsys, problem, status, message):
    @one_line
    def main():
        raise problem

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    assert capsys.readouterr().err == message + "\n"


def test_torch_s_own_way_of_running_out_of_memory(capsys):
    with pytest.raises(SystemExit) as ended:
        one_line(lambda: torch.empty(1 << 60, dtype=torch.uint8))()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: out of memory: ")


FULL = """
import io, resource, sys, torch
from pathlib import Path
from safetensors.torch import save_file
from variance_dynamics.base import rows
from variance_dynamics.base.errors import one_line
import pandas as pd

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
zeros = torch.zeros(100_000)
ways = {
    "torch": lambda: torch.save({"a": zeros}, "file"),
    "stream": lambda: torch.save({"a": zeros}, Path("file").open("wb")),
    "safetensors": lambda: save_file({"a": zeros}, "file"),
    "rows": lambda: rows.write("file", pd.DataFrame({"a": torch.rand(100_000).numpy()})),
}
for name, way in ways.items():
    try:
        one_line(way)()
    except SystemExit as ended:
        print(name, ended.code)
"""


def test_a_full_disk_is_one_line_whichever_library_writes(tmp_path):
    """A limit on the size of files stands for it."""
    (tmp_path / "old").write_text("kept")
    result = subprocess.run([sys.executable, "-c", FULL], cwd=tmp_path, capture_output=True, text=True,
                            env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    assert result.stdout.splitlines() == ["torch 1", "stream 1", "safetensors 1", "rows 1"], result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 4 and all(line.startswith("error: ") for line in lines), lines
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("problem", [RuntimeError("shapes"), TypeError("x"), ValueError("y")])
def test_a_mistake_in_the_code_keeps_its_traceback(problem):
    @one_line
    def main():
        raise problem

    with pytest.raises(type(problem)):
        main()


def test_a_message_is_one_line_of_bounded_length_whatever_name_is_in_it():
    assert str(BadInput("name is 'a\x1b[2J\nb\ud800'")) == "name is 'a\\x1b[2J b\\ud800'"
    assert len(str(BadInput("x" * 10**6))) < 2100


def test_what_nobody_thought_of_asks_for_a_report_and_the_traceback_can_be_had(monkeypatch):
    line = with_a_line(KeyError("x\ny"), "audit m.pt")
    assert isinstance(line, BadInput) and "audit m.pt: KeyError" in str(line)
    assert "please report it" in str(line) and "VARIANCE_DYNAMICS_TRACEBACK=1" in str(line)
    for problem in (BadInput("std is -1"), OSError("disk is gone"), MemoryError()):
        assert with_a_line(problem, "audit m.pt") is problem
    monkeypatch.setenv("VARIANCE_DYNAMICS_TRACEBACK", "1")
    unknown = KeyError("x")
    assert with_a_line(unknown, "audit m.pt") is unknown
