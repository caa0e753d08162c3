"""The package's import graph, read from the source with ast (nothing is imported)."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
PACKAGE = "variance_dynamics"


def module_file(name: str) -> Path | None:
    """The file of a module of this package; None for a package folder or a name inside a module."""
    file = (SOURCE / Path(*name.split("."))).with_suffix(".py")
    return file if file.is_file() else None


def imported_names(file: Path) -> set[str]:
    """Dotted names of modules, and of what may be one, that a file imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def direct_imports(file: Path) -> set[Path]:
    """Files of this package that a file imports, anywhere in it."""
    names = imported_names(file)
    return {found for name in names if name.startswith(PACKAGE) and (found := module_file(name))}


def closure(file: Path) -> set[Path]:
    """The file and all that it imports, directly or not."""
    seen, ahead = set(), [file]
    while ahead:
        current = ahead.pop()
        if current not in seen:
            seen.add(current)
            ahead += direct_imports(current)
    return seen
