"""A checkout as people have it: with git's settings for Windows, and a .venv that is a link."""

import pytest

from copies import fresh_copy, run


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return fresh_copy(tmp_path_factory.mktemp("checkout"))


def test_line_ends_stay_where_git_would_change_them(repository, tmp_path):
    """DVC compares bytes: each source file would be a changed dep, and every stage would run again."""
    run(tmp_path, "git", "clone", "--quiet", "-c", "core.autocrlf=true", repository, "clone")
    files = run(repository, "git", "ls-files").stdout.splitlines()
    assert len(files) > 100
    changed = [name for name in files
               if (repository / name).read_bytes() != (tmp_path / "clone" / name).read_bytes()]
    assert not changed


def test_an_environment_that_is_a_link_is_not_seen_by_git(repository, tmp_path):
    (repository / ".venv").symlink_to(tmp_path)
    try:
        assert not run(repository, "git", "status", "--short").stdout
    finally:
        (repository / ".venv").unlink()
