"""A file or a folder appears whole or not at all, and beside it lies nothing else."""

import ast
import subprocess
import sys

import pytest

from imports import SOURCE
from variance_dynamics.base.atomic import replacing, scratch

MOVED = {"rename", "renames", "replace", "move"}
MADE = {"mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryDirectory"}
"""Functions that move files, and that make them in a folder which is not the target's."""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(target, text="new"):
    with replacing(target) as partial:
        partial.write_text(text)


def make(target, *files):
    with replacing(target) as partial:
        partial.mkdir()
        for name in files:
            (partial / name).touch()


def test_a_file_is_replaced(tmp_path):
    for text in ("old", "new"):
        write(tmp_path / "deep/file", text)
    assert names(tmp_path / "deep") == ["file"] and (tmp_path / "deep/file").read_text() == "new"


def test_a_folder_is_replaced_with_all_that_was_in_it(tmp_path):
    make(tmp_path / "folder", "a", "b")
    make(tmp_path / "folder", "b", "c")
    assert names(tmp_path) == ["folder"] and names(tmp_path / "folder") == ["b", "c"]


def test_a_folder_takes_the_place_of_a_link(tmp_path):
    """As of `data/corpus` that somebody made a link to a larger disk."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/kept").touch()
    (tmp_path / "folder").symlink_to(tmp_path / "elsewhere")
    make(tmp_path / "folder", "a")
    assert names(tmp_path / "folder") == ["a"] and names(tmp_path / "elsewhere") == ["kept"]


@pytest.mark.parametrize("kind", [write, lambda target: make(target, "a")])
def test_an_error_leaves_what_was_there(tmp_path, kind):
    kind(tmp_path / "target")
    with pytest.raises(KeyError), replacing(tmp_path / "target") as partial:
        partial.mkdir()
        raise KeyError
    assert names(tmp_path) == ["target"]


def test_what_a_killed_process_left_is_written_over(tmp_path):
    code = ("import os, sys; from pathlib import Path; from variance_dynamics.base.atomic import replacing\n"
            "with replacing(sys.argv[1]) as partial:\n"
            "    partial.mkdir(); (partial / 'half').touch(); os.kill(os.getpid(), 9)")
    ended = subprocess.run([sys.executable, "-c", code, tmp_path / "folder"], env={"PYTHONPATH": str(SOURCE)})
    assert ended.returncode == -9 and names(tmp_path) == ["folder.partial"]
    make(tmp_path / "folder", "a")
    assert names(tmp_path) == ["folder"] and names(tmp_path / "folder") == ["a"]
    (tmp_path / "file.partial").mkdir()
    write(tmp_path / "file")
    assert names(tmp_path) == ["file", "folder"]


def test_two_writers_with_names_of_their_own(tmp_path):
    with replacing(tmp_path / "file", "1") as one, replacing(tmp_path / "file", "2") as two:
        one.write_text("one")
        two.write_text("two")
        assert len(names(tmp_path)) == 2
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "one"


def test_a_scratch_folder_is_empty_and_goes(tmp_path):
    with scratch(tmp_path / "out") as folder:
        (folder / "big").touch()
        assert folder.parent == tmp_path
    assert names(tmp_path) == []
    (tmp_path / folder.name).mkdir()
    (tmp_path / folder.name / "left").touch()
    with scratch(tmp_path / "out") as folder:
        assert names(folder) == []


def test_a_linked_folder_on_another_disk(tmp_path, other_disk):
    (tmp_path / "data").symlink_to(other_disk)
    for files in (("a",), ("b",)):
        make(tmp_path / "data/folder", *files)
        write(tmp_path / "data/file", files[0])
    assert names(other_disk) == ["file", "folder"] and names(other_disk / "folder") == ["b"]


def moves(file):
    """The calls in a file that move files or make temporary ones."""
    for call in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)):
        owner, _, name = ast.unparse(call.func).rpartition(".")
        given = ast.unparse(call.args[0]) if call.args else ""
        moved = owner == "os" or " / " in given or "path" in given
        if name in MADE or (name in MOVED and moved):
            yield f"{file.relative_to(SOURCE)}:{call.lineno}: {ast.unparse(call)}"


def test_nothing_else_moves_files():
    """Else a temporary file may lie on another file system than its target: "Invalid cross-device link".

    A checkpoint's name holds the sum of what was written, in a folder that all processes share. What was read
    of a server is kept by a killed process, which `replacing` would delete. It lies in a temporary folder
    where there is no table to keep it beside.
    """
    owners = {SOURCE / name for name in (
        "variance_dynamics/base/atomic.py", "study/base/checkpoint.py", "study/base/checkpoint_folder.py",
        "variance_dynamics/checkpoint_series/ranges.py", "variance_dynamics/checkpoint_series/series.py")}
    assert all(list(moves(file)) for file in owners)
    assert not [line for file in SOURCE.rglob("*.py") if file not in owners for line in moves(file)]
