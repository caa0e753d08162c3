"""A full disk, too little memory, a folder that cannot be written: one line, and the next run ends well."""

import pytest

from starts import contents, copy, nothing_is_lost, run, told

LIMITS = {
    "full disk while a checkpoint is written": ({"file": 20_000}, "File too large"),
    "full disk while tables are written": ({"file": 4_000}, "error: "),
    "too little memory": ({"memory": 1 << 20}, "allocate memory"),
}


def is_one_line(folder, line):
    errors = [each for each in told(folder).splitlines() if "error" in each.lower()]
    assert len(errors) == 1 and errors[0].startswith("error: ") and line in errors[0], told(folder)
    assert "Traceback" not in told(folder)


@pytest.mark.reliability
@pytest.mark.parametrize("fault", LIMITS)
def test_a_fault_is_one_line_and_the_next_run_completes(origin, whole, tmp_path, fault):
    limit, line = LIMITS[fault]
    folder = copy(origin, tmp_path / "run")
    ends = run(tmp_path, [{"folder": str(folder), **limit}, {"folder": str(folder)}])
    assert ends[0]["status"] == 1
    is_one_line(folder, line)
    nothing_is_lost(folder, whole, ends, 1)


@pytest.mark.reliability
def test_a_folder_that_cannot_be_written_is_one_line_and_no_step_is_lost(origin, whole, tmp_path):
    folder = copy(origin, tmp_path / "run")
    (folder / "data").chmod(0o555)
    first = run(tmp_path, [{"folder": str(folder), "plain": True}])
    assert first[0]["status"] == 1
    is_one_line(folder, "error: data/gpt2: Permission denied")
    (folder / "data").chmod(0o755)
    nothing_is_lost(folder, whole, [*first, *run(tmp_path, [{"folder": str(folder)}])], 0)


@pytest.mark.reliability
def test_earlier_results_outlive_a_fault(origin, whole, tmp_path):
    """Tables are replaced one by one and whole: each is the old one or the new one."""
    folder = copy(origin, tmp_path / "run")
    assert run(tmp_path, [{"folder": str(folder)}])[0]["status"] == 0
    (folder / "done").unlink()
    (ended,) = run(tmp_path, [{"folder": str(folder), "file": 4_000}])
    assert ended["status"] == 1
    assert contents(folder) == whole[0]
