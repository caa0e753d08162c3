"""In a copy of the repository, a missing file's message names the option that brings it along."""

import os

import pytest

from study.data import left_out
from variance_dynamics.base.errors import BadInput


@pytest.mark.parametrize(("root", "said"), [(None, False), (".", False), ("..", True)])
def test_copy_paths_is_named_in_a_copy_and_nowhere_else(tmp_path, monkeypatch, root, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    if root:
        monkeypatch.setenv("DVC_ROOT", os.path.realpath(root))
    with pytest.raises(BadInput, match="matches no file") as raised, left_out.named():
        raise BadInput("corpus.files has 'data/raw/text/*', which matches no file")
    assert ("--copy-paths data/raw/text" in str(raised.value)) == said
