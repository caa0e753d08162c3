"""dvc.yaml against the code: imports lie in deps and run one way, every stage is documented."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.schema import COMPILED_MULTI_STAGE_SCHEMA

from imports import LIBRARY, ROOT, SOURCE, STUDY, allowed, closure, direct_imports, room
from study.gpt2.params import EXECUTION, Knobs
from study.stages.checks import STUDY_SECTIONS

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]

ROOMS = sorted({room(file) for file in SOURCE.rglob("*.py")} - {LIBRARY, STUDY})


def stage_module(stage):
    """The file that the stage's command runs."""
    run = re.search(r"-m study\.stages\.(\w+)", STAGES[stage]["cmd"])
    assert run, f"{stage} runs no module of study.stages"
    return SOURCE / STUDY / "stages" / f"{run[1]}.py"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_s_imports_lie_in_its_deps(stage):
    """DVC does not trace imports: a module outside of deps would leave stale results."""
    deps = [ROOT / dep for dep in STAGES[stage]["deps"]]
    needed = closure(stage_module(stage))
    missing = [file for file in needed if not any(file.is_relative_to(dep) for dep in deps)]
    assert not missing, f"{stage} needs deps: {sorted(str(file.relative_to(ROOT)) for file in missing)}"


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_depends_on_a_room_that_it_does_not_read(stage):
    """Else an edit there would run it again for nothing."""
    needed = closure(stage_module(stage))
    deps = [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith("src")]
    assert all(dep.exists() for dep in deps)
    assert not [dep for dep in deps if not any(file.is_relative_to(dep) for file in needed)]


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_what_it_says_it_may(name):
    may, folder = [name, *allowed(name)], SOURCE / Path(*name.split("."))
    wrong = [f"{file.name} imports {module(target)}" for file in folder.glob("*.py")
             for target in direct_imports(file)
             if not any(f"{module(target)}.".startswith(f"{each}.") for each in may)]
    assert not wrong, "\n".join(wrong)


def module(file):
    return ".".join(file.relative_to(SOURCE).with_suffix("").parts)


def test_the_library_never_imports_the_study():
    assert not [file for file in (SOURCE / LIBRARY).rglob("*.py")
                if any(target.is_relative_to(SOURCE / STUDY) for target in direct_imports(file))]


def test_no_module_imports_one_that_imports_it():
    """Of imports inside functions too."""
    files = {file: direct_imports(file) for file in SOURCE.rglob("*.py")}
    finished = set()

    def visit(file, path=()):
        assert file not in path, " -> ".join(each.stem for each in [*path, file])
        for target in files[file] if file not in finished else ():
            visit(target, (*path, file))
        finished.add(file)

    for file in files:
        visit(file)


def test_no_room_imports_one_that_imports_it():
    """The rooms have an order: what a room says it may import never leads back to it."""
    above = {name: {each for each in ROOMS if each != name and any(
        each == may or each.startswith(f"{may}.") for may in allowed(name))} for name in ROOMS}

    def below(name, path=()):
        assert name not in path, f"a circle of rooms: {' -> '.join([*path, name])}"
        for each in above[name]:
            below(each, (*path, name))

    for name in ROOMS:
        below(name)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_says_what_it_does(stage):
    assert STAGES[stage]["desc"]


@pytest.mark.parametrize("stage", STAGES)
def test_no_name_of_params_reaches_a_shell(stage):
    """An arm may be called `x;touch Y;#` where `validate` is passed over, as by `dvc repro --single-item`."""
    assert "${" not in STAGES[stage]["cmd"]


def paths(outs):
    """Of each entry of a stage's outs, also those with options; a matrix's up to its first `${`."""
    names = [next(iter(out)) if isinstance(out, dict) else out for out in outs]
    return [name.split("${")[0].rstrip("/") for name in names]


def before(stage):
    """The stages whose outputs this one reads, and those before them."""
    deps = STAGES[stage]["deps"]
    read = {name for name in STAGES for out in paths(STAGES[name]["outs"])
            if any(f"{dep}/".startswith(f"{out}/") for dep in deps)}
    return read.union(*map(before, read))


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "validate"])
def test_nothing_starts_before_params_are_valid(stage):
    """Through the stages between, without an arrow from `validate` to each: `dvc dag` stays legible."""
    assert "validate" in before(stage)


@pytest.mark.parametrize("stage", [name for name in STAGES if name not in ("validate", "numbers", "figures")])
def test_what_is_computed_depends_on_the_versions_it_is_computed_with(stage):
    """Numerics change with torch, numpy and scipy, Parquet's bytes with pyarrow."""
    assert "requirements.lock" in STAGES[stage]["deps"]


class Stop(Exception):
    """Raised where a stage has read its params and would begin to compute."""


FIRST_CALL = {"classification": "prepare", "corpus": "prepare", "mlp_sweep": "load",
              "init_comparison": "load", "gpt2_pretrain": "open_corpus", "analyze": "load", "plot": "sources"}


class Recording(dict):
    """A params tree that remembers which sections were read."""

    def __init__(self, tree):
        super().__init__(tree)
        self.read = set()

    def __getitem__(self, name):
        self.read.add(name)
        return super().__getitem__(name)

    get = __getitem__


@pytest.mark.parametrize("stage", FIRST_CALL)
def test_params_declare_every_section_that_a_stage_reads(stage, tree, tmp_path, monkeypatch):
    """And what a study changes of it: DVC would not see that another value needs another run."""
    def stop(*_):
        raise Stop

    module, recording = importlib.import_module(f"study.stages.{stage}"), Recording(tree)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, FIRST_CALL[stage], stop)
    monkeypatch.setattr(module.params, "read", lambda: recording)
    monkeypatch.setattr(sys, "argv", [stage, "gpt2", "0"])
    with pytest.raises(Stop):
        module.main()
    declared = set(STAGES[stage]["params"])
    interpolated = re.findall(r"\$\{(\w+)\.", " ".join(declared))
    sections = {name.partition(".")[0] for name in declared} | set(interpolated)
    studied = {section for section in recording.read & set(STUDY_SECTIONS)
               if "studies" not in declared and f"studies.${{study}}.{section}" not in declared}
    assert recording.read <= sections
    selected = {"gpt2"} if stage in ("corpus", "analyze") else set()  # its selectors, which no study changes
    assert studied <= selected, studied


def test_a_run_of_gpt2_declares_each_of_its_knobs():
    """All but those that change how a run is computed and not its result."""
    declared = {name for name in STAGES["gpt2_pretrain"]["params"] if name.startswith("gpt2.")}
    assert declared == {f"gpt2.{name}" for name in set(Knobs.model_fields) - EXECUTION}


def test_expensive_stages_keep_dvc_s_run_cache():
    """An output with cache: false costs a stage its run-cache: an old value would run anew."""
    for stage in set(STAGES) - {"numbers", "figures"}:
        assert all(isinstance(out, str) for out in STAGES[stage]["outs"]), stage


def test_dvc_s_own_schema_accepts_the_pipeline():
    """What `dvc` and its VS Code extension read: stages, metrics and plots at top level."""
    COMPILED_MULTI_STAGE_SCHEMA(PIPELINE)
    assert {"metrics", "plots"} <= set(PIPELINE)
    for stage in STAGES.values():
        assert not {"metrics", "plots"} & set(stage), "declared twice, a plot is drawn twice"


def test_every_plot_reads_an_output_of_the_stage_figures():
    made = paths(STAGES["figures"]["outs"])
    for plot in PIPELINE["plots"]:
        read = [plot] if isinstance(plot, str) else [name for entry in plot.values() for name in entry["y"]]
        assert all(any(f"{name}/".startswith(f"{out}/") for out in made) for name in read), plot


@pytest.mark.parametrize("stage", STAGES)
def test_descriptions_fit_in_dvc_stage_list(stage):
    assert len(STAGES[stage]["desc"]) <= 76, "dvc stage list cuts longer ones"


@pytest.mark.parametrize("stage", ["validate", "corpus", "classification", "analyze", "plot", "publish"])
def test_stages_that_do_not_train_start_in_two_seconds_without_torch(stage):
    """Of CPU, as the machine may be busy. A library that they import might bring torch along."""
    code = (f"import sys, time, study.stages.{stage}; "
            "print(time.process_time() < 2, 'torch' in sys.modules)")
    told = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, capture_output=True,
                          text=True, check=True)
    assert told.stdout.split() == ["True", "False"]
