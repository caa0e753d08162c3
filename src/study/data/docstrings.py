"""English prose from the docstrings of installed distributions. Their files are parsed, never imported.

The text depends on the versions of the distributions only: not on the machine, on where they are installed,
on the locale or on the version of Python.
"""

import ast
import gc
import hashlib
import inspect
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.progress import progress

GRAMMAR = (3, 11)
"""Files that need a newer syntax are left out, so that every version of Python reads the same text."""
LEFT_OUT = {"test", "tests", "testing", "_internal", "_vendor", "externals"}
SHORTEST = 8
"""The fewest words of a paragraph that is kept."""
COMMON_WORDS = """
    a an and are as at be been but by can do does each for from has have how if in into is it its may
    more must no not of on only or other should so than that the their then there these they this to
    two used using was we when where which will with you your
"""
COMMON = frozenset(COMMON_WORDS.split())
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def documents(packages: list[str]) -> Iterator[str]:
    """The prose of one module after another, in the order of `packages` and then of paths.

    A paragraph is left out if it has appeared before, also with other names and numbers.
    """
    modules = [module for name in packages for module in _modules(name)]
    seen: set[bytes] = set()
    with _no_collector(), progress(modules, desc="docstrings", unit=" modules") as bar:
        for package, path in bar:
            source = Path(str(package.locate_file(path))).read_bytes()
            paragraphs = [text for doc in docstrings(source) for text in prose(doc) if _new(text, seen)]
            if paragraphs:
                yield "\n\n".join(paragraphs) + "\n"


def installed(name: str) -> Distribution:
    """The installed distribution of that name. Raises BadInput when there is none."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise BadInput(f"corpus.packages has {name!r}: expected an installed distribution") from None


def _modules(name: str) -> list[tuple[Distribution, PurePosixPath]]:
    package = installed(name)
    paths = sorted(path.as_posix() for path in package.files or [] if path.suffix == ".py")
    kept = [PurePosixPath(path) for path in paths if not LEFT_OUT & set(path.split("/")) and path[:2] != ".."]
    if not kept:
        raise BadInput(f"corpus.packages has {name!r}: expected a distribution that lists its .py files")
    return [(package, path) for path in kept]


@contextmanager
def _no_collector() -> Iterator[None]:
    """Without garbage collection parsing is twice as fast: it makes millions of objects without cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def docstrings(source: bytes) -> Iterator[str]:
    """Docstrings of a module, its classes and functions, in order. None of a file that does not parse."""
    if b'"""' not in source and b"'''" not in source:
        return  # docstrings in plain quotes are short: they are not worth parsing a file for
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, feature_version=GRAMMAR)
    except (SyntaxError, ValueError):
        return
    yield from _of(tree)


def _of(node: ast.Module | Definition) -> Iterator[str]:
    text = ast.get_docstring(node, clean=False)
    if text:
        yield inspect.cleandoc(text)
    for statement in node.body:
        yield from _inside(statement)


def _inside(statement: ast.stmt) -> Iterator[str]:
    """Docstrings of the definitions in a statement, also in all branches of if, try and with."""
    if isinstance(statement, Definition):
        yield from _of(statement)
    elif isinstance(statement, ast.If | ast.Try | ast.With):
        bodies = [branch.body for branch in (statement, *getattr(statement, "handlers", []))]
        bodies += [getattr(statement, name, []) for name in ("orelse", "finalbody")]
        yield from (text for body in bodies for each in body for text in _inside(each))


UNDERLINE = re.compile(r"([-=~^*#\"'+.])\1{2,}$")
BULLET = re.compile(r"(?:[-*+•]|\(?\d{1,2}[.)])\s+")


def prose(doc: str) -> Iterator[str]:
    """The paragraphs of a docstring that read as English sentences, each on one line.

    A paragraph ends at an empty line, at a list item, and where the indentation changes, as between the name
    of a parameter and its description. Underlined lines are headings and are left out.
    """
    lines: list[str] = []
    margin = 0
    for line in [*doc.expandtabs().split("\n"), ""]:
        text = line.strip()
        if UNDERLINE.match(text):
            lines = []
            continue
        indent = len(line) - len(line.lstrip())
        item = BULLET.match(text)
        if lines and (not text or item or indent != margin):
            paragraph = " ".join(" ".join(lines).split())
            if is_prose(paragraph):
                yield paragraph
            lines = []
        if text:
            margin = indent + (item.end() if item else 0)
            lines.append(text[item.end() :] if item else text)


WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
PLAIN = re.compile(r"[A-Za-z ,.;:'’\"()-]")
MARKUP = re.compile(r">>>|\.\. |^:|^@|::$|__|==|->|\\|\$|https?:|[{}|<>=~^_/]{2}")


def is_prose(paragraph: str) -> bool:
    """Whether a paragraph consists of English sentences, and not of code, formulas, tables or names."""
    words = WORD.findall(paragraph)
    ends = paragraph.rstrip("\"')").endswith((".", "!", "?", ":"))
    if len(words) < SHORTEST or not paragraph[0].isupper() or not ends or MARKUP.search(paragraph):
        return False
    common = sum(word.lower() in COMMON for word in words)
    return common >= 0.25 * len(words) and len(PLAIN.findall(paragraph)) >= 0.93 * len(paragraph)


def _new(paragraph: str, seen: set[bytes]) -> bool:
    """Whether no earlier paragraph has the same lower-case words. Names and numbers are not compared."""
    key = hashlib.sha256(" ".join(re.findall(r"\b[a-z]+\b", paragraph)).encode()).digest()[:16]
    if key in seen:
        return False
    seen.add(key)
    return True
