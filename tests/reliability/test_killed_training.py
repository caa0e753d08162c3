"""Training killed at any moment and started again ends with the same bytes; one interval is lost at most."""

import json
import random
import signal

import pytest

from reliability.starts import STEPS, contents, copy, killed, log_of, nothing_is_lost, run


def test_kills_at_a_few_moments(origin, tmp_path):
    """Early, between two checkpoints, and while the last files are written, beside a run left alone."""
    alone, folder = copy(origin, tmp_path / "alone"), copy(origin, tmp_path / "run")
    how = [{"event": 1}, {"event": 12}, {"event": 35}]
    whole, *ends = run(tmp_path, [{"folder": str(alone)}, *killed(folder, how)])
    assert whole["events"] > 45 and whole["steps"] == STEPS
    assert [end["status"] for end in ends[:2]] == [-signal.SIGKILL] * 2
    nothing_is_lost(folder, (contents(alone), whole), ends, len(how))


@pytest.mark.reliability
def test_a_kill_at_every_operation_on_files(origin, whole, tmp_path):
    """Checkpoints and tables: before each opening to write, renaming and deleting, in a run of its own.

    Where the results were complete, only the note of the run and the mark that it has finished were left.
    """
    folders = [copy(origin, tmp_path / str(event)) for event in range(1, whole[1]["events"] + 1)]
    firsts = run(tmp_path, [{"folder": str(folder), "signal": signal.SIGKILL, "event": number}
                            for number, folder in enumerate(folders, start=1)])
    complete = [(folder / "data/gpt2/gpt2-0/run.json").exists() for folder in folders]
    assert 1 <= sum(complete) <= 8 and sorted(complete) == complete
    lasts = run(tmp_path, [{"folder": str(folder)} for folder in folders])
    for folder, first, last in zip(folders, firsts, lasts, strict=True):
        assert first["status"] == -signal.SIGKILL
        nothing_is_lost(folder, whole, [first, last], 1)


@pytest.mark.reliability
@pytest.mark.parametrize(("sent", "runs"), [(signal.SIGKILL, 25), (signal.SIGINT, 8), (signal.SIGTERM, 8)])
def test_kills_at_random_moments(origin, whole, tmp_path, sent, runs):
    """Again where too many ended before they were hit: the machine may be less busy than for `whole`."""
    moments, hit = random.Random(int(sent)), 0
    for batch in range(9):
        hit += hits(origin, whole, tmp_path / str(batch), sent, runs, moments)
        if hit >= 0.8 * runs:
            return
    pytest.fail(f"{hit} of {9 * runs} runs were hit")


def hits(origin, whole, tmp_path, sent, runs, moments):
    """Each run is killed one to three times, and then left alone; how many of the starts were hit."""
    tmp_path.mkdir()
    starts, trials = [], []
    for number in range(runs):
        how = [{"seconds": moments.uniform(0, whole[1]["seconds"]), "signal": sent}
               for _ in range(moments.randint(1, 3))]
        folder = copy(origin, tmp_path / str(number))
        trials.append((folder, len(how)))
        starts += killed(folder, how)
    ends = iter(run(tmp_path, starts))
    hit = 0
    for folder, kills in trials:
        mine = [next(ends) for _ in range(kills + 1)]
        hit += sum(end["status"] != 0 for end in mine)
        nothing_is_lost(folder, whole, mine, kills)
    return hit


@pytest.mark.reliability
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: data[:-9] + bytes(9)])
def test_a_damaged_checkpoint_is_told_and_the_one_before_used(origin, whole, tmp_path, damage):
    folder = copy(origin, tmp_path / "run")
    first = run(folder, [{"folder": str(folder), "signal": signal.SIGKILL, "event": whole[1]["events"] // 2}])
    *_, before, newest = sorted((folder / ".checkpoints").glob("*/*.pt"))
    newest.write_bytes(damage(newest.read_bytes()))
    (last,) = run(folder, [{"folder": str(folder)}])
    assert f"{newest.name}: damaged checkpoint, passed over" in log_of(folder)
    assert last["steps"] == STEPS - int(before.name.partition("-")[0])
    nothing_is_lost(folder, whole, [*first, last], 2)


@pytest.mark.reliability
def test_temporary_folders_share_the_checkpoints_of_their_root(origin, whole, tmp_path):
    """`dvc exp run --temp` and queued runs start in a new folder each, with $DVC_ROOT for the repository."""
    root = str(tmp_path / "repository")
    one, two = copy(origin, tmp_path / "temp1"), copy(origin, tmp_path / "temp2")
    ends = run(tmp_path, [
        {"folder": str(one), "root": root, "signal": signal.SIGKILL, "event": whole[1]["events"] // 2},
        {"folder": str(two), "root": root}])
    assert ends[0]["status"] == -signal.SIGKILL and ends[1]["steps"] < STEPS
    assert not (two / ".checkpoints").exists()
    (two / ".checkpoints").symlink_to(f"{root}/.checkpoints")
    nothing_is_lost(two, whole, ends, 1)


@pytest.mark.reliability
def test_checkpoints_of_other_params_are_not_taken(origin, whole, tmp_path):
    folder = copy(origin, tmp_path / "run")
    run(folder, [{"folder": str(folder), "signal": signal.SIGKILL, "event": whole[1]["events"] // 2}])
    tree = json.loads((folder / "params.yaml").read_text())
    tree["gpt2"]["lr"] *= 2
    (folder / "params.yaml").write_text(json.dumps(tree))
    (last,) = run(folder, [{"folder": str(folder)}])
    assert last["status"] == 0 and last["steps"] == STEPS
    assert contents(folder) != whole[0]
