"""Copies of the repository, as a user's clone, to run commands in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from imports import ROOT

BIN = Path(sys.executable).parent
RESULTS = ("metrics/", "plots/", "dvc.lock")


def environment(**more):
    """The environment of this process, with this Python's programs first in PATH; `more` adds to it."""
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1", **more}


def run(folder, *command, check=True, **more):
    """Run a command in a folder; `more` adds to the environment."""
    result = subprocess.run(command, cwd=folder, env=environment(**more), capture_output=True, text=True)
    assert not check or result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def fresh_copy(folder):
    """Copy the files of the working tree, without results, into `folder` and make a git repository of it."""
    listed = run(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(RESULTS):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    repository(folder)
    commit(folder, "The study")
    return folder


def repository(folder):
    """Make a git repository of the folder, with an author and without a commit."""
    run(folder, "git", "init", "--quiet", "--initial-branch=main")
    identify(folder)


def identify(folder):
    """Name the author of the commits of a repository."""
    run(folder, "git", "config", "user.name", "A Reader")
    run(folder, "git", "config", "user.email", "reader@example.org")


def commit(folder, message):
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", message)


def edit(file, old, new):
    """Replace the first `old` by `new`; returns the text as it was before."""
    text = file.read_text()
    assert old in text, f"{file.name} has no {old!r}"
    file.write_text(text.replace(old, new, 1))
    return text


def alone(tree):
    """The params tree without the names of recorded runs, which a test's own folder does not hold."""
    return tree | {"analyze": tree["analyze"] | {"recorded": []}}


def set_param(folder, key, value):
    """Set one key of params.yaml, dotted, as `dvc exp run --set-param` does."""
    file, yaml = folder / "params.yaml", YAML()
    tree = place = yaml.load(file)
    *sections, name = key.split(".")
    for each in sections:
        place = place[each]
    assert name in place, key
    place[name] = value
    yaml.dump(tree, file)
