"""A full disk, too little memory, a folder that cannot be written: one line, and the next run ends well."""

import json

import pytest

from reliability.starts import EVERY, FILES, STEPS, contents, copy, log_of, nothing_is_lost, run

NO_MEMORY = {"memory": 0}
"""The corpus cannot be mapped. With a little more, the first matrix product crashes on some processors."""
LIMITS = {
    "full disk while a checkpoint is written": ({"file": 20_000}, "File too large"),
    "full disk while tables are written": ({"file": 4_000, "tables": True}, "File too large"),
    "full disk while the weights are written": ({"file": 20_000, "tables": True}, "File too large"),
    "too little memory": (NO_MEMORY, "allocate memory"),
}


def is_one_line(folder, line):
    errors = [each for each in log_of(folder).splitlines() if "error" in each.lower()]
    assert len(errors) == 1 and errors[0].startswith("error: ") and line in errors[0], log_of(folder)
    assert "Traceback" not in log_of(folder)


def test_three_faults_after_one_another(origin, tmp_path):
    """The short form of all that follows: each is one line, and loses what came after the last checkpoint."""
    folder = copy(origin, tmp_path / "run")
    (folder / "data").chmod(0o555)
    given = [{"file": 20_000}, NO_MEMORY, {"plain": True}, {"plain": True}]
    ends = run(tmp_path, [{"folder": str(folder), **each} for each in given])
    assert [end["status"] for end in ends] == [1, 1, 1, 1]
    assert [end["steps"] for end in ends] == [EVERY, 0, STEPS, 0]
    errors = [line for line in log_of(folder).splitlines() if "rror" in line]
    expected = ["File too large", "allocate memory", *["data/gpt2: Permission denied"] * 2]
    assert len(errors) == 4 and all(part in line for part, line in zip(expected, errors, strict=True)), errors


@pytest.mark.reliability
@pytest.mark.parametrize("fault", LIMITS)
def test_a_fault_is_one_line_and_the_next_run_completes(origin, whole, tmp_path, fault):
    limit, line = LIMITS[fault]
    folder = copy(origin, tmp_path / "run")
    ends = run(tmp_path, [{"folder": str(folder), **limit}, {"folder": str(folder)}])
    assert ends[0]["status"] == 1
    assert ("tables" in limit) == (ends[0]["steps"] == STEPS)
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
@pytest.mark.parametrize(("most", "replaced"), [(4_000, 0), (20_000, 4)])
def test_earlier_results_outlive_a_fault(origin, whole, tmp_path, most, replaced):
    """Files are replaced one by one and whole: each is that of another run before, or the new one."""
    folder = copy(origin, tmp_path / "run")
    given = (folder / "params.yaml").read_text()
    tree = json.loads(given)
    tree["gpt2"]["lr"] *= 2
    (folder / "params.yaml").write_text(json.dumps(tree))
    assert run(tmp_path, [{"folder": str(folder)}])[0]["status"] == 0
    before = contents(folder)
    assert not before.items() & whole[0].items(), "each file is another one"
    (folder / "params.yaml").write_text(given)
    (folder / "done").unlink()
    (ended,) = run(tmp_path, [{"folder": str(folder), "file": most, "tables": True}])
    after = contents(folder)
    new = {name for name in FILES if after[name] == whole[0][name]}
    assert ended["status"] == 1 and len(new) == replaced
    assert all(after[name] == before[name] for name in FILES if name not in new)
