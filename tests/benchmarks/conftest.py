"""What each test of a benchmark starts with."""

import pytest
import torch


@pytest.fixture(autouse=True)
def on_its_own(tmp_path, monkeypatch):
    """Checkpoints lie in a folder of the test's own, and torch's number of threads is restored."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
