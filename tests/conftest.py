"""Fixtures that more than one test file uses."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from copies import alone, commit, edit, fresh_copy, run
from study.base import params

ROOT = Path(__file__).resolve().parent.parent
# Before any test imports a Hugging Face library: no network, and nothing outside this folder.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = str(ROOT / ".cache" / "huggingface")
# The same examples on every run, and as much time as a busy machine takes: a failure is the code's.
settings.register_profile("same everywhere", deadline=None, derandomize=True, database=None,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same everywhere")


@pytest.fixture
def tree():
    """The params tree of the default study without recorded runs, free to be changed."""
    return alone(params.read(ROOT / "params.yaml"))


@pytest.fixture(scope="session")
def shared_data():
    """Real data for tests at a realistic size; tests that use it are skipped where it is missing."""
    folder = Path(os.environ.get("VARIANCE_DYNAMICS_SHARED", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no shared data: set VARIANCE_DYNAMICS_SHARED")
    return folder


@pytest.fixture
def other_disk(tmp_path):
    """A folder on another file system than `tmp_path`; tests that use it are skipped where there is none."""
    memory = Path("/dev/shm")  # on Linux a file system in memory
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """A copy of the repository in which the smoke study was chosen, run and committed; leave it as it is."""
    folder = fresh_copy(tmp_path_factory.mktemp("smoke"))
    edit(folder / "params.yaml", "study: default", "study: smoke")
    run(folder, "dvc", "repro")
    commit(folder, "The smoke study")
    return folder
