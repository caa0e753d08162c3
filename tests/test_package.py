"""What one installs: the wheel holds the library alone, and whatever is imported is declared."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import variance_dynamics
from imports import LIBRARY, ROOT, SOURCE, STUDY, imported_names

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def declared(*lists):
    """The names of the packages that lists of requirements name."""
    return {canonicalize_name(Requirement(text).name) for texts in lists for text in texts}


def imported(package):
    """The packages of others that a package's files import, anywhere in them."""
    names = {name.split(".")[0] for file in (SOURCE / package).rglob("*.py") for name in imported_names(file)}
    outside = names - set(sys.stdlib_module_names) - {LIBRARY, STUDY, "pydantic_core"}  # a part of pydantic
    providers = importlib.metadata.packages_distributions()
    return {canonicalize_name(providers[name][0]) for name in outside}


def test_the_library_requires_what_it_imports_and_no_more():
    """But for what only --png and repositories of the hub need; pandas imports pyarrow."""
    assert imported(LIBRARY) | {"pyarrow"} == declared(PROJECT["dependencies"], EXTRAS["png"], EXTRAS["hub"])
    assert declared(EXTRAS["png"]) == {"matplotlib"} and declared(EXTRAS["hub"]) == {"huggingface-hub"}


def test_the_study_imports_what_the_library_and_its_extra_require():
    names = imported(STUDY)
    assert not names - declared(PROJECT["dependencies"], EXTRAS["study"])
    assert declared(EXTRAS["study"]) - names == {"dvc", "matplotlib"}, "a command, and a font"


@pytest.mark.parametrize("extra", ["dependencies", "png", "hub", "study", "test"])
def test_the_lock_satisfies_what_is_required(extra):
    text = (ROOT / "requirements.lock").read_text()
    locked = re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)
    versions = {canonicalize_name(name): version for name, version in locked}
    for requirement in map(Requirement, {**EXTRAS, "dependencies": PROJECT["dependencies"]}[extra]):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without network from a copy: building leaves files beside the sources."""
    copy = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]):
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(SOURCE, copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
                    "--no-index", "--disable-pip-version-check", "--wheel-dir", copy, copy], check=True)
    return next(copy.glob("*.whl"))


def test_the_wheel_holds_the_library_alone(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {LIBRARY}
    files = {str(file.relative_to(SOURCE)) for file in (SOURCE / LIBRARY).rglob("*.py")}
    assert files | {f"{LIBRARY}/py.typed"} <= names


PUBLIC_NAMES = """
import sys
from pathlib import Path
sys.path = [folder for folder in sys.path if not Path(folder, "study").is_dir()]
from variance_dynamics import Tracker, assert_initialized, audit, compare, forecast, initialize, series
for thing in (Tracker, assert_initialized, audit, compare, forecast, initialize, series):
    assert callable(thing), thing
    assert Path(sys.modules[thing.__module__].__file__).is_relative_to(sys.argv[1]), thing
assert "study" not in sys.modules
"""


def test_the_public_names_work_without_the_study(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    subprocess.run([sys.executable, "-c", PUBLIC_NAMES, tmp_path], check=True, cwd=tmp_path,
                   env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert set(variance_dynamics.__all__) == {
        "Tracker", "assert_initialized", "audit", "compare", "forecast", "initialize", "series"}
