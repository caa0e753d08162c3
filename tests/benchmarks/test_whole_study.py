"""The whole study, stage by stage: times are read from what DVC prints, and a study that fails has none."""

import sys

import pytest

DVC = """#!{python}
import time
print("Running stage 'validate':", flush=True)
print("> env python", flush=True)
time.sleep(0.3)
for seed in (0, 1):
    print(f"Running stage 'gpt2_pretrain@gpt2-{{seed}}':", flush=True)
    time.sleep(0.1)
raise SystemExit({code})
"""


@pytest.fixture
def study():
    import whole_study

    return whole_study


def pretended(folder, monkeypatch, code):
    """A python whose folder holds a `dvc` of ours."""
    (folder / "dvc").write_text(DVC.format(python=sys.executable, code=code))
    (folder / "dvc").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))


def test_seconds_are_from_one_stage_to_the_next(study, tmp_path, monkeypatch):
    pretended(tmp_path, monkeypatch, 0)
    begun, whole = study.timed(tmp_path)
    seconds = study.by_stage(begun)
    assert list(seconds) == ["validate", "gpt2_pretrain"]
    assert [len(each) for each in seconds.values()] == [1, 2]
    assert seconds["validate"][0] >= 0.3 and all(each >= 0.1 for each in seconds["gpt2_pretrain"])
    assert whole >= sum(map(sum, seconds.values()))


def test_a_study_that_fails_has_no_time(study, tmp_path, monkeypatch):
    pretended(tmp_path, monkeypatch, 3)
    with pytest.raises(AssertionError, match="ended with 3"):
        study.timed(tmp_path)


BEGUN = [("validate", 0.0), ("gpt2_pretrain@gpt2-0", 1.0), ("gpt2_pretrain@gpt2-1", 3.0), ("", 7.0)]


@pytest.mark.parametrize("again", [[("", 1.0)], BEGUN])
def test_a_row_for_each_stage_for_all_and_for_nothing_to_do(study, monkeypatch, again):
    times = iter([(BEGUN, 8.0), *[(again, seconds) for seconds in (0.5, 0.3, 0.9)]])
    monkeypatch.setattr(study, "timed", lambda folder: next(times))
    monkeypatch.setattr(study.subprocess, "run", lambda command, check: None)
    if again is BEGUN:
        with pytest.raises(AssertionError, match="a second repro runs stages"):
            study.rows()
        return
    rows = {row["peer"]: (row["seconds"], row["runs"]) for row in study.rows()}
    assert rows == {"validate": (1.0, 1), "gpt2_pretrain": (6.0, 2), study.WHOLE: (8.0, 1),
                     study.NOTHING: (0.5, 1)}
