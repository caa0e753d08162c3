"""Files and folders that appear whole or not at all, also where they lie on a file system of their own."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: str | Path, own: str = "") -> Iterator[Path]:
    """A path beside `target` to write a file to, or to make a folder at. At the end it becomes `target`.

    A process that is killed leaves the old `target` or the new one, never half of one; of a folder it may
    leave none. What it had begun stays beside it as NAME.partial, and the next one writes over that. Only
    where several processes may write one target at once does each need a name of its own, `own`. Where the
    work inside raises, `target` stays as it was.
    """
    target = Path(target)
    partial = _beside(target, own)
    try:
        yield partial
        if partial.is_dir():
            _remove(target)
        os.replace(partial, target)  # the file system is the same, so it is one step
    except BaseException:
        _remove(partial)
        raise


@contextmanager
def scratch(target: str | Path) -> Iterator[Path]:
    """An empty folder beside `target` for what is needed while it is made; it is removed at the end."""
    folder = _beside(Path(target), "scratch")
    folder.mkdir()
    try:
        yield folder
    finally:
        _remove(folder)


def _beside(target: Path, own: str) -> Path:
    """NAME.partial or NAME.OWN.partial beside `target`, free of what a killed process left there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(".".join(filter(None, [target.name, own, "partial"])))
    if partial.exists() or partial.is_symlink():
        _remove(partial)
    return partial


def _remove(path: Path) -> None:
    """Delete a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
