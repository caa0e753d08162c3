"""A study of a second, made once."""

import pytest

from starts import STEPS, contents, copy, make, run, told


@pytest.fixture(scope="session")
def origin(tmp_path_factory):
    """A folder in which the stage gpt2_pretrain can run."""
    return make(tmp_path_factory.mktemp("origin"))


@pytest.fixture(scope="session")
def whole(origin, tmp_path_factory):
    """The run that was never stopped: what it wrote, and how many events and seconds it took."""
    folder = copy(origin, tmp_path_factory.mktemp("whole") / "run")
    (ended,) = run(folder, [{"folder": str(folder)}])
    assert ended["status"] == 0 and ended["steps"] == STEPS, told(folder)
    return contents(folder), ended
