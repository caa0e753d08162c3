"""`make consistent` in a clone without a cache, as in CI: it passes, and fails once anything differs."""

import pytest
import yaml

from copies import BIN, edit, run


@pytest.fixture(scope="module")
def fresh_clone(smoke, tmp_path_factory):
    folder = tmp_path_factory.mktemp("consistent") / "clone"
    run(smoke, "git", "clone", "--quiet", ".", folder)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(BIN)
    (folder / ".venv" / ".ready").touch()
    return folder


@pytest.fixture
def clone(fresh_clone):
    yield fresh_clone
    run(fresh_clone, "git", "checkout", "--quiet", ".")


def passes(folder):
    return run(folder, "make", "--assume-old=.venv/.ready", "consistent", check=False).returncode == 0


def test_a_clone_of_committed_results_passes(clone):
    assert passes(clone)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("params.yaml", "dpi: 150", "dpi: 100"),
        ("src/study/mlp/grid.py", "import", "import  "),
        ("metrics/gpt2.json", "e3_", "e3_x_"),
        ("plots/rows/e3_loss.json", "[", "[ "),
    ],
)
def test_a_change_by_hand_fails(clone, name, old, new):
    edit(clone / name, old, new)
    assert not passes(clone)


def test_results_of_other_inputs_fail(clone):
    """A dvc.lock put together by hand: a stage's input is not what the stage before it made."""
    lock = clone / "dvc.lock"
    tree = yaml.safe_load(lock.read_text())
    tree["stages"]["corpus"]["outs"][0]["md5"] = "0" * 32 + ".dir"
    lock.write_text(yaml.safe_dump(tree))
    assert not passes(clone)


def test_a_missing_figure_fails(clone):
    next((clone / "plots" / "figures").glob("*.png")).unlink()
    assert not passes(clone)
