"""Which files are chosen, what is said of the others, and that DVC sees what is read."""

import contextlib

import pytest
from dvc.repo import Repo

from copies import run
from imports import ROOT
from study.data import files, mnist, tokenizer
from variance_dynamics.base.errors import BadInput

KINDS = [".txt"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with data/raw, and books outside of it."""
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "books/old").mkdir(parents=True)
    for name in ("books/a.txt", "books/old/b.txt"):
        (tmp_path / name).write_text("text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


LINKS = {
    "data/raw/text": "data/raw/text/*",
    "data/raw/more": "data/raw/more/**",
    "data/raw/text/in": "data/raw/**/*.txt",
    "data/raw/deep": "data/raw/deep/old/b.txt",
    "data/raw/text/by name": "data/raw/text/*",
    "data/raw/set": "data/raw/other/../set/*",
}


@pytest.mark.parametrize(("link", "pattern"), LINKS.items())
@pytest.mark.parametrize("absolute", [False, True])
def test_a_linked_folder_in_data_raw_is_refused(project, link, pattern, absolute):
    (project / link).parent.mkdir(exist_ok=True)
    (project / "data/raw/other").mkdir()
    (project / "data/raw/other/c.txt").write_text("text")
    (project / link).symlink_to(project / "books")
    with pytest.raises(BadInput) as problem:
        files.entries([f"{project}/{pattern}" if absolute else pattern], KINDS)
    instead = f"rm {link} && mkdir {link} && ln -s {project}/books/* {link}/"
    assert str(problem.value) == (f"{link} is a link to a folder, in which DVC sees no change: "
                                  f"expected a folder of files or of links to files ({instead})")


def test_linked_folders_of_images_and_of_a_tokenizer_are_refused(project):
    for name in [*sum(mnist.FILES.values(), ()), *tokenizer.FORMS[0]]:
        (project / "books" / name).write_text("{}")
    (project / "data/raw/set").symlink_to(project / "books")
    for read in (lambda path: mnist.find("classification.mnist.path", str(path)), tokenizer.gpt2_files):
        read(project / "books")
        with pytest.raises(BadInput, match="data/raw/set is a link to a folder"):
            read(project / "data/raw/set")


def test_links_to_files_and_data_raw_as_a_link_are_read(project):
    (project / "data/raw").rmdir()
    (project / "big").mkdir()
    (project / "data/raw").symlink_to(project / "big")
    (project / "data/raw/text").mkdir()
    (project / "data/raw/text/a.txt").symlink_to(project / "books/a.txt")
    chosen, others = files.entries(["data/raw/**"], KINDS)
    assert [path.as_posix() for path in chosen] == ["data/raw/text/a.txt"] and others == []


HIDDEN = {
    "data/raw/clone/.dvc/config": "data/raw/clone/.dvc hides files beside it from DVC: expected none in data",
    "data/raw/.dvcignore": "data/raw/.dvcignore hides files beside it from DVC: expected none in data/raw",
    "data/raw/clone/.cache/x": "data/raw/clone/.cache/a.txt: .cache is in .dvcignore, so DVC sees no change",
    "data/raw/clone/x.egg-info/x": "a.txt: x.egg-info is in .dvcignore, so DVC sees no change: expected",
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_dvc_does_not_see_for_other_reasons_is_refused(project, name):
    (project / ".dvcignore").write_bytes((ROOT / ".dvcignore").read_bytes())
    (project / name).parent.mkdir(parents=True, exist_ok=True)
    (project / name).touch()
    folder = (project / name).parent if "ignore" in HIDDEN[name] else project / "data/raw/clone"
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text("text")
    with pytest.raises(BadInput) as problem:
        files.check((folder / "a.txt").relative_to(project))
    assert HIDDEN[name] in str(problem.value)


def seen(folder):
    """What DVC makes of data/raw: a hash of all that it sees there."""
    with contextlib.chdir(folder), Repo() as repo:
        (dep,) = (dep for stage in repo.index.stages for dep in stage.deps)
        return dep.get_hash().value


def test_dvc_sees_a_change_in_what_is_read_and_none_in_what_is_refused(project):
    """The reason for the refusals: if DVC follows links to folders one day, this fails and they can go."""
    run(project, "git", "init", "--quiet")
    run(project, "dvc", "init", "--quiet")
    (project / "dvc.yaml").write_text("stages: {a: {cmd: 'true', deps: [data/raw]}}")
    (project / "data/raw/own").mkdir()
    (project / "data/raw/own/a.txt").symlink_to(project / "books/a.txt")
    before = seen(project)
    (project / ".dvcignore").write_bytes((ROOT / ".dvcignore").read_bytes())
    (project / "data/raw/text").symlink_to(project / "books/old")
    for name in ("data/raw/.cache", "data/raw/x.egg-info", "data/raw/clone"):
        (project / name).mkdir()
        (project / name / "a.txt").write_text("text")
    (project / "data/raw/clone/.dvc").mkdir()
    assert seen(project) == before
    (project / "data/raw/clone/.dvc").rmdir()
    (project / "books/a.txt").write_text("other text")
    assert seen(project) != before
    (project / "data/raw").rename(project / "big")
    (project / "data/raw").symlink_to(project / "big")
    moved = seen(project)
    (project / "big/own/c.txt").write_text("more text")
    assert seen(project) != moved


def test_what_a_pattern_matches_and_is_not_read_is_given(project):
    (project / "books/to folder").symlink_to(project / "data")
    (project / "books/to nothing").symlink_to(project / "nowhere")
    names = ["books/old", "books/to folder", "books/to nothing"]
    chosen, others = files.entries(["books/*"], KINDS)
    assert [path.as_posix() for path in chosen] == ["books/a.txt"]
    assert [path.as_posix() for path in others] == names
    chosen, others = files.entries(["books/**"], KINDS)
    assert [path.as_posix() for path in chosen] == ["books/a.txt", "books/old/b.txt"]
    assert [path.as_posix() for path in others] == names[1:]
    chosen, others = files.entries(["books/**/*.txt"], KINDS)
    assert [path.as_posix() for path in others] == ["books/to folder"]
