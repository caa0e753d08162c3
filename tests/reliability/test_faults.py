"""A full disk, too little memory, a folder that cannot be written: one line, and the next run ends well."""

import os

import pytest

from starts import contents, copy, nothing_is_lost, run, told

LIMITS = {
    "full disk while a checkpoint is written": ({"file": 20_000}, "a file cannot be written: "),
    "full disk while tables are written": ({"file": 4_000}, "error: "),
    "too little memory": ({"memory": 1 << 20}, "out of memory: "),
    "a folder that cannot be written": ({"user": 65534}, "Permission denied"),
}


@pytest.mark.reliability
@pytest.mark.parametrize("fault", LIMITS)
def test_a_fault_is_one_line_and_the_next_run_completes(origin, whole, tmp_path, fault):
    limit, line = LIMITS[fault]
    if "user" in limit and os.getuid() != 0:
        pytest.skip("only root can become another user, who may not write here")
    folder = copy(origin, tmp_path / "run")
    ends = run(tmp_path, [{"folder": str(folder), **limit}, {"folder": str(folder)}])
    assert ends[0]["status"] == 1
    errors = [each for each in told(folder).splitlines() if "error" in each.lower()]
    assert len(errors) == 1 and errors[0].startswith("error: ") and line in errors[0], told(folder)
    assert "Traceback" not in told(folder)
    nothing_is_lost(folder, whole, ends, 1)


@pytest.mark.reliability
def test_earlier_results_outlive_a_fault(origin, whole, tmp_path):
    """Tables are replaced one by one and whole: each is the old one or the new one."""
    folder = copy(origin, tmp_path / "run")
    assert run(tmp_path, [{"folder": str(folder)}])[0]["status"] == 0
    (folder / "done").unlink()
    (ended,) = run(tmp_path, [{"folder": str(folder), "file": 4_000}])
    assert ended["status"] == 1
    assert contents(folder) == whole[0]
