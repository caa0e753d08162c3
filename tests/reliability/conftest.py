"""The tiny study that kills and faults are tried on, made once."""

import pytest

from reliability import counts
from reliability.starts import STEPS, contents, copy, log_of, make, run


@pytest.fixture(scope="session")
def origin(tmp_path_factory):
    """A folder in which the stage gpt2_pretrain can run."""
    return make(tmp_path_factory.mktemp("origin"))


@pytest.fixture(scope="session")
def whole(origin, tmp_path_factory):
    """A run that was never stopped: the files that it wrote, and how it ended (see starts.run)."""
    folder = copy(origin, tmp_path_factory.mktemp("whole") / "run")
    (ended,) = run(folder, [{"folder": str(folder)}])
    assert ended["status"] == 0 and ended["steps"] == STEPS, log_of(folder)
    return contents(folder), ended


def pytest_terminal_summary(terminalreporter):
    """Print what was tried how often, also where nothing failed."""
    if counts.COUNTS:
        terminalreporter.section("reliability: what was tried, and how often it ended how")
        for line in counts.lines():
            terminalreporter.write_line(line)
