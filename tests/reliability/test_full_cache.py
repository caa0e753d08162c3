"""DVC's cache is full when a stage has trained: DVC fails, and the next run has nothing to train."""

import shutil

import pytest
import yaml

from copies import commit, repository, run
from imports import ROOT
from mlp.test_resumable import GROUPS_OF, contents, prepare

STAGES = ("mlp_sweep", "init_comparison")


@pytest.fixture
def project(tmp_path):
    """A pipeline of two stages that train for seconds."""
    prepare(tmp_path)
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=unwanted)
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    pipeline = {"stages": {name: stages[name] | {"deps": []} for name in STAGES}}
    pipeline["stages"]["init_comparison"]["deps"] = ["data/mlp_sweep"]  # the order
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    repository(tmp_path)
    run(tmp_path, "dvc", "init", "--quiet")
    run(tmp_path, "dvc", "config", "core.analytics", "false")
    (tmp_path / ".gitignore").write_text("/.checkpoints/\n/.runs/\n")
    commit(tmp_path, "A pipeline")
    return tmp_path


def groups(folder):
    return len(list((folder / ".checkpoints").glob("*/*/*.pt")))


@pytest.mark.reliability
def test_nothing_is_trained_again_after_the_cache_was_full(project):
    """A file in the place of the cache's folder: DVC cannot write there, as on a full disk."""
    cache = project / ".dvc/cache/files"
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text("")
    failed = run(project, "dvc", "repro", "mlp_sweep", check=False, OMP_NUM_THREADS="1")
    assert failed.returncode != 0 and not (project / "dvc.lock").exists(), failed.stderr
    assert groups(project) == GROUPS_OF["mlp_sweep"]
    trained = contents(project / "data/mlp_sweep")
    cache.unlink()
    done = run(project, "dvc", "repro", "mlp_sweep", OMP_NUM_THREADS="1")
    assert "12 of 12 groups are finished already" in done.stderr
    assert contents(project / "data/mlp_sweep") == trained
    run(project, "dvc", "repro", OMP_NUM_THREADS="1")
    assert groups(project) == GROUPS_OF["init_comparison"], "a later stage has deleted those of the first"
