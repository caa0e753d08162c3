"""The files of a study's own data: chosen by globs, seen by DVC, unpacked piece by piece."""

import fnmatch
import glob
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import BinaryIO

from study.data.params import RAW
from variance_dynamics.base.errors import BadInput

POINTER = b"version https://git-lfs.github.com/spec/"
"""How the text begins that git has in place of a file while git-LFS has not fetched it."""


def check(path: Path) -> Path:
    """The path of a file to read. Raises BadInput where DVC does not see the file, or git-LFS has kept it.

    DVC hashes what links to files under data/raw lead to, and data/raw itself may be a link. But for DVC a
    linked folder in it is as good as empty, and so are a repository of DVC and what .dvcignore names: what
    changes there would be "up to date".
    """
    _check_seen(path)
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise BadInput(f"{path}: a pointer of git-LFS: expected the file itself, which git lfs pull gets")
    return path


def _check_seen(path: Path) -> None:
    own = Path(os.path.abspath(path))  # noqa: PTH100 (`resolve` would follow the links)
    if not own.is_relative_to(RAW.absolute()):
        return
    inside = own.relative_to(RAW.absolute())
    for folder in (RAW / each for each in inside.parents):
        if folder != RAW and folder.is_symlink():
            instead = f"rm {folder} && mkdir {folder} && ln -s {folder.resolve()}/* {folder}/"
            why = "a link to a folder, in which DVC sees no change"
            raise BadInput(f"{folder} is {why}: expected a folder of files or of links to files ({instead})")
        for hidden in (folder / ".dvc", folder / ".dvcignore"):
            if hidden.exists():
                raise BadInput(f"{hidden} hides files beside it from DVC: expected none in {RAW}")
    for name, part in product(_ignored(), inside.parts):
        if fnmatch.fnmatchcase(part, name):
            why = f"{part} is in .dvcignore, so DVC sees no change"
            raise BadInput(f"{RAW / inside}: {why}: expected another name")


def _ignored() -> list[str]:
    """The names and patterns of names in the repository's .dvcignore."""
    try:
        lines = Path(".dvcignore").read_text(encoding="utf-8").split("\n")
    except OSError:
        return []
    return [line for line in lines if line.strip() and not line.startswith("#")]


def entries(patterns: list[str], kinds: list[str]) -> tuple[list[Path], list[Path]]:
    """The files that match, each once, sorted; and what else matches and is not read.

    `kinds` are the endings that names may have. Not read are folders that a pattern without `**` matches,
    links to folders, broken links and devices. Raises BadInput where nothing or another kind matches, and for
    a link to a folder in data/raw.
    """
    chosen: set[Path] = set()
    others: set[Path] = set()
    for pattern in patterns:
        matches = set(map(Path, _matches(pattern)))
        files = {path for path in matches if path.is_file()}
        if not (files or any(map(_is_link_in_raw, matches))):
            expected = f"expected files in {', '.join(kinds)}"
            raise BadInput(f"corpus.files has {pattern!r:.200}, which matches no file: {expected}")
        chosen |= files
        others |= {path for path in matches - files if not ("**" in pattern and _is_own_folder(path))}
    for folder in sorted(filter(_is_link_in_raw, others)):
        _check_seen(folder / "any file")
    for path in sorted(chosen):
        if not any(path.name.endswith(kind) for kind in kinds):
            raise BadInput(f"corpus.files matches {path}: expected only files in {', '.join(kinds)}")
    return sorted(map(check, chosen)), sorted(others)


def _is_own_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_link_in_raw(path: Path) -> bool:
    return path.is_symlink() and path.is_dir() and path.absolute().is_relative_to(RAW.absolute())


def _matches(pattern: str) -> Iterator[str]:
    """Like glob.glob, but `**` does not follow links to folders, as these may lead in endless circles.

    It gives these links themselves.
    """
    if "\0" in pattern:
        return
    pattern = f"{pattern}/*" if f"/{pattern}".endswith("/**") else pattern
    before, deep, after = f"/{pattern}".partition("/**/")
    if not deep:
        yield from glob.iglob(pattern)  # noqa: PTH207
        return
    for root in glob.iglob(f"{before}/"[1:] or "./"):  # noqa: PTH207
        for folder, inside, _ in os.walk(root):
            inside[:] = [name for name in inside if not name.startswith(".")]
            yield from _matches(os.path.join(glob.escape(folder), after))  # noqa: PTH118
            yield from (link for name in inside if os.path.islink(link := os.path.join(folder, name)))  # noqa: PTH114, PTH118


def _zstd(file: BinaryIO) -> BinaryIO:
    from pyarrow import CompressedInputStream, PythonFile

    return io.BufferedReader(CompressedInputStream(PythonFile(file, "r"), "zstd"))


PACKINGS: dict[str, Callable[[BinaryIO], BinaryIO]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),  # type: ignore[dict-item, return-value]
    ".zst": _zstd,
}
"""The end of a packed file's name -> its content as a stream."""


@contextmanager
def unpacked(path: Path, file: BinaryIO) -> Iterator[BinaryIO]:
    """The content of an open file, which its name says to be packed or plain. Raises BadInput if damaged."""
    kind = path.suffix
    if kind not in PACKINGS:
        yield file
        return
    try:
        with PACKINGS[kind](file) as content:
            yield content
    except (EOFError, zlib.error, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise  # the disk's, not the packing's
        first = str(problem).partition("\n")[0]
        raise BadInput(f"{path}: damaged {kind} ({first}): expected a whole file") from None
