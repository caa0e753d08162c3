"""What an experiment retrains and what it does not: by DVC's plan without training, and by real runs."""

import contextlib
import json
import shutil
import time
from pathlib import Path

import pytest
from dvc.repo import Repo

from copies import commit, edit, fresh_copy, identify, run, set_param
from imports import ROOT
from study.base import params

ARMS = params.load(ROOT / "params.yaml")["gpt2"]["arms"]
GPT2 = {f"gpt2_pretrain@{arm}-{seed}" for arm in ARMS for seed in range(3)}
STD_005 = {f"gpt2_pretrain@std_005-{seed}" for seed in range(3)}
TRAINING = ("mlp_sweep", "init_comparison", "gpt2_pretrain")


@contextlib.contextmanager
def opened(folder):
    with contextlib.chdir(folder), Repo() as repo:
        yield repo


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A copy with placeholders for outputs, and a dvc.lock that says they came from these params and code."""
    folder = fresh_copy(tmp_path_factory.mktemp("recorded"))
    with opened(folder) as repo:
        paths = {Path(each.fs_path) for each in (*repo.index.outs, *repo.index.deps)}
        folders = {folder for path in paths for folder in path.parents}  # of which a stage may read a part
        for path in (path for path in paths - folders if not path.exists()):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        repo.commit(force=True)
    commit(folder, "Results")
    return folder


@pytest.fixture
def tracked(recorded):
    yield recorded
    run(recorded, "git", "checkout", "--quiet", ".")


def stages_to_run(folder):
    """The stages whose own params, deps or outputs changed; what depends on them is not listed."""
    with opened(folder) as repo:
        return {stage.addressing for stage in repo.reproduce(dry=True)}


# `validate` reads every value and `plot` prints them: both run on any change, and take seconds.
@pytest.mark.parametrize(
    ("key", "value", "trained"),
    [
        ("plot.dpi", 50, set()),
        ("mlp_sweep.steps", 50, {"mlp_sweep"}),
        ("init_comparison.width", 32, {"init_comparison"}),
        ("gpt2.lr", 3e-3, GPT2),
        ("gpt2.arms", ["gpt2", "std_005"], STD_005 | {"analyze"}),
        ("gpt2.seeds", [0, 1, 2, 3], {f"gpt2_pretrain@{arm}-3" for arm in ARMS} | {"analyze"}),
        ("gpt2.preset", "gpt2", {"corpus"} | GPT2),
    ],
)
def test_a_value_retrains_what_it_touches(tracked, key, value, trained):
    set_param(tracked, key, value)
    assert stages_to_run(tracked) == {"validate", "plot"} | trained


def test_what_no_run_uses_trains_nothing(tracked):
    set_param(tracked, "gpt2_arms.std_005.std", 0.004)
    set_param(tracked, "gpt2_presets.gpt2.steps", 10)
    set_param(tracked, "gpt2.checkpoint_every", 7)
    assert stages_to_run(tracked) == {"validate", "plot"}


def test_comments_in_params_run_nothing(tracked):
    edit(tracked / "params.yaml", "# Every knob", "# Each knob")
    edit(tracked / "params.yaml", "# cpu or cuda", "# cuda if there is one")
    assert stages_to_run(tracked) == set()


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("src/study/mlp/experiments.py", {"mlp_sweep", "init_comparison"}),
        ("src/study/plotting/charts.py", {"plot"}),
        ("src/variance_dynamics/adapters.py", set()),
        ("src/variance_dynamics/roles/patterns.py", set()),
        ("src/variance_dynamics/auditing/judge.py", set()),
        ("src/variance_dynamics/theory/null_law.py", {"analyze", "plot"}),
    ],
)
def test_code_runs_the_stages_that_read_its_room(tracked, name, stages):
    """A room is a cache boundary. To DVC a comment is code."""
    file = tracked / name
    file.write_text(file.read_text() + "# a comment\n")
    assert stages_to_run(tracked) == stages


def test_data_brought_along_are_read_and_prepared_anew(tracked):
    mine = tracked / "data/raw/mine.txt"
    mine.write_text("text")
    try:
        assert stages_to_run(tracked) == {"corpus", "classification"}
    finally:
        mine.unlink()


# From here on: real runs of the smoke study, in clones that share its cache.


def log_of(folder, *arguments, **environment):
    done = run(folder, "dvc", "exp", "run", *arguments, **environment)
    return done.stdout + done.stderr


def trained(log):
    names = [line.split("'")[1] for line in log.splitlines() if line.startswith("Running stage")]
    return {name for name in names if name.startswith(TRAINING)}


def status(folder):
    return run(folder, "git", "status", "--short").stdout


def new_clone(source, folder, cache=None):
    run(source, "git", "clone", "--quiet", ".", folder)
    identify(folder)
    if cache:
        run(folder, "dvc", "config", "--local", "cache.dir", str(cache))
    return folder


@pytest.fixture
def clone(smoke, tmp_path):
    """A clean clone with the smoke study's results; `analyze` as target spares the runs in it the figures."""
    folder = new_clone(smoke, tmp_path / "clone", smoke / ".dvc" / "cache")
    run(folder, "dvc", "checkout", "--allow-missing")
    return folder


@pytest.mark.slow
def test_experiments_in_the_workspace_train_what_changed(clone):
    arms = "gpt2.arms=[gpt2,std_005]"
    assert trained(log_of(clone, "analyze", "-S", "gpt2.lr=2e-3")) == GPT2
    assert trained(log_of(clone, "analyze", "-S", "gpt2.lr=1e-3")) == set()
    assert trained(log_of(clone, "analyze", "-S", arms)) == STD_005
    seeds = ("-S", "gpt2.arms=[gpt2]", "-S", "gpt2.seeds=[0,1,2,3]")
    assert trained(log_of(clone, "analyze", *seeds)) == {"gpt2_pretrain@gpt2-3"}
    assert trained(log_of(clone, "analyze", "-S", "gpt2.seeds=[0,1,2]")) == set()
    assert trained(log_of(clone, "analyze", "-S", "init_comparison.width=32")) == {"init_comparison"}
    assert trained(log_of(clone, "-S", "init_comparison.width=64", "-S", "plot.dpi=60")) == set()


@pytest.mark.slow
def test_experiments_in_a_copy_leave_the_workspace_clean(clone):
    before = run(clone, "git", "rev-parse", "HEAD").stdout
    assert trained(log_of(clone, "--temp", "analyze", "-S", "gpt2.lr=4e-3")) == GPT2
    assert status(clone) == ""
    assert run(clone, "git", "rev-parse", "HEAD").stdout == before
    assert trained(log_of(clone, "analyze", "-S", "gpt2.lr=4e-3")) == set()


def names_in_queue(folder):
    queue = run(folder, "dvc", "queue", "status").stdout
    return [line.split()[1] for line in queue.splitlines() if "Success" in line]


def wait_for_queue(folder, most_seconds=600):
    ends = time.monotonic() + most_seconds
    while any(word in run(folder, "dvc", "queue", "status").stdout for word in ("Queued", "Running")):
        assert time.monotonic() < ends, "the queue did not end"
        time.sleep(2)


@pytest.mark.slow
def test_queued_lists_and_ranges_two_at_a_time(clone):
    one = ("-S", "gpt2.seeds=[0]", "-S", "gpt2.arms=[gpt2]")
    log_of(clone, "--queue", "analyze", "-S", "gpt2.lr=5e-3,6e-3", *one)
    log_of(clone, "--queue", "analyze", "-S", "gpt2.lr=range(0.007,0.0085,0.001)", *one)
    run(clone, "dvc", "queue", "start", "-j", "2", OMP_NUM_THREADS="1")
    wait_for_queue(clone)
    names = names_in_queue(clone)
    assert len(names) == 4
    for name in names:
        assert trained(run(clone, "dvc", "queue", "logs", name).stdout) == {"gpt2_pretrain@gpt2-0"}
    assert status(clone) == ""
    log_of(clone, "--queue", "analyze", "-S", "gpt2.lr=5e-3,9e-3", *one)
    assert trained(log_of(clone, "--run-all")) == {"gpt2_pretrain@gpt2-0"}
    assert status(clone) == ""
    rows = json.loads(run(clone, "dvc", "exp", "show", "--json").stdout)[1]["experiments"]
    rates = {row["revs"][0]["data"]["params"]["params.yaml"]["data"]["gpt2"]["lr"] for row in rows}
    assert rates == {5e-3, 6e-3, 7e-3, 8e-3, 9e-3}


@pytest.mark.slow
def test_a_folder_as_remote_spares_a_fresh_clone_all_training(smoke, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(smoke, mine, symlinks=True)
    run(mine, "dvc", "remote", "add", "--default", "storage", "../storage")
    commit(mine, "A remote")
    run(mine, "dvc", "push", "--run-cache")
    theirs = new_clone(mine, tmp_path / "theirs")
    pulled = run(theirs, "dvc", "repro", "--pull")
    assert "Running stage" not in pulled.stdout + pulled.stderr
    assert (theirs / "plots" / "report.html").read_bytes() == (mine / "plots" / "report.html").read_bytes()
    assert status(theirs) == ""
