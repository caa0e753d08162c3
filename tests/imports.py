"""The import graph of the library and the study, read from the source with ast (nothing is imported)."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
LIBRARY, STUDY = "variance_dynamics", "study"


def module_file(name: str) -> Path | None:
    """The file of a module of ours; None for a package folder or a name inside a module."""
    file = (SOURCE / Path(*name.split("."))).with_suffix(".py")
    return file if name.split(".")[0] in (LIBRARY, STUDY) and file.is_file() else None


def imported_names(file: Path, inside: bool = True) -> set[str]:
    """Dotted names of modules, and of what may be one, that a file imports; `inside` functions too."""
    names: set[str] = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if inside else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def direct_imports(file: Path, inside: bool = True) -> set[Path]:
    """Files of ours that a file imports."""
    return {target for name in imported_names(file, inside) if (target := module_file(name))}


def closure(file: Path) -> set[Path]:
    """The file and all files of ours that importing it loads; imports inside functions are left out."""
    seen, ahead = set(), [file]
    while ahead:
        current = ahead.pop()
        if current not in seen:
            seen.add(current)
            ahead += direct_imports(current, inside=False)
    return seen


def room(file: Path) -> str:
    """library or study, and the folder in it: variance_dynamics.base; the package alone for its own files."""
    return ".".join(file.relative_to(SOURCE).parts[:-1])


def allowed(name: str) -> list[str]:
    """What a room's `__init__` says that it may import, as names from the top."""
    package = name.split(".")[0]
    text = (SOURCE / Path(*name.split(".")) / "__init__.py").read_text(encoding="utf-8")
    said = re.search(r"^May import: (.*)\.$", text, re.MULTILINE)
    assert said, f"{name}/__init__.py has no line `May import: ...`"
    words = [word.strip() for word in said[1].split(",")]
    return [word if word == LIBRARY else f"{package}.{word}" for word in words]
