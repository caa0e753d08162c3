"""The stage validate: the study's params are valid, and each mistake ends in one line, quickly."""

import contextlib
import copy
import json
import os
import subprocess
import sys

import pytest
from dvc.dependency.param import read_param_file
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from copies import alone, commit, repository
from imports import ROOT
from study.base import params
from study.stages import checks, validate
from variance_dynamics.base.errors import BadInput

ARMS: dict[str, dict[str, object]] = {"gpt2": {}, "constant_lr": {}}
CHANGES = [
    # Mistakes within one section
    ("classification.val_fraction", 0, "classification.val_fraction is 0: expected greater than 0"),
    ("classification.datasets", [], "classification.datasets is []: expected at least 1 item"),
    ("classification.datasets", ["wine", "wine"], "expected entries that differ"),
    ("classification.test_fraction", 0.85, "val_fraction 0.15, test_fraction 0.85: expected a sum below 1"),
    ("corpus.source", "web", "corpus.source is 'web': expected 'docs', 'files' or 'hub'"),
    ("corpus.null_rows", "drop", "corpus.null_rows is 'drop': expected 'refuse' or 'skip'"),
    ("corpus.separator_place", "inside", "separator_place is 'inside': expected 'anywhere' or 'line'"),
    ("corpus.tokenizer.distinct_bytes", 0, "distinct_bytes is 0: expected greater than or equal to 100000"),
    ("classification.idx", {"a b": "x"}, "classification.idx.'a b': expected letters"),
    ("classification.idx", {"mnist": "x"}, "idx has 'mnist': expected a name other than wine, digits, mnist"),
    ("corpus.tokenizer.vocab_size", 256, "vocab_size is 256: expected greater than or equal to 257"),
    ("corpus.tokenizer.vocab_size", "4096", "is '4096': expected a valid integer"),
    ("corpus.tokeniser", {}, "corpus.tokeniser is {}: expected no such key"),
    ("mlp_sweep.steps", 0, "mlp_sweep.steps is 0: expected"),
    ("mlp_sweep.optimizers.sgd.lr", 0.0, "mlp_sweep.optimizers.sgd.lr is 0.0: expected"),
    ("init_comparison.optimizers.adamw.lrs", [0.1, -0.1], "adamw.lrs.1 is -0.1: expected"),
    ("init_comparison.schemes", ["xavier", "kaimin"], "kaimin"),
    ("gpt2.lr", 0, "gpt2.lr is 0: expected greater than 0"),
    ("gpt2.lr", "1e-3", "gpt2.lr is '1e-3': expected a valid number"),
    ("gpt2.device", "gpu", "gpt2.device is 'gpu': expected 'cpu' or 'cuda'"),
    ("gpt2.arms", [], "gpt2.arms is []: expected at least 1 item"),
    ("gpt2.arms", ["gpt2", "gpt2"], "gpt2.arms is ['gpt2', 'gpt2']: expected entries that differ"),
    ("gpt2.seeds", [0, 0], "gpt2.seeds is [0, 0]: expected entries that differ"),
    ("gpt2.seeds", [-1], "gpt2.seeds.0 is -1: expected greater than or equal to 0"),
    ("analyze.confidence", 1.0, "analyze.confidence is 1.0: expected less than 1"),
    ("plot.dpi", 9999, "plot.dpi is 9999: expected"),
    ("gpt2.std", 1e38, "gpt2.std is 1e+38: expected 1e-37 to 1e37, which float32 can hold"),
    ("gpt2_arms.std_1.std", 5e-324, "arm std_1.std is 5e-324: expected 1e-37 to 1e37"),
    ("mlp_sweep.stds.high", 1.7e308, "mlp_sweep.stds.high is 1.7e+308: expected 1e-37 to 1e37"),
    # Sections that do not fit together
    ("classification.datasets", ["wine", "iris"], "datasets has 'iris': expected wine, digits, mnist"),
    ("mlp_sweep.tasks.wine", None, "mlp_sweep.tasks.wine"),
    ("gpt2.arms", ["gpt2", "nothing"], "gpt2.arms names 'nothing': expected one of gpt2, "),
    ("gpt2.preset", "huge", "gpt2.preset names 'huge': expected one of cpu, gpt2"),
    ("gpt2_presets.cpu.n_head", 3, "n_head is 3: expected a divisor of n_embd, 128"),
    ("gpt2_presets.gpt2.n_head", 7, "n_head is 7: expected a divisor of n_embd, 768"),
    ("gpt2_presets.cpu.vocab_size", 4095, "vocab_size is 4095: expected at least corpus.tokenizer's 4096"),
    ("gpt2_arms.wd_1.weight_decay", -1.0, "arm wd_1.weight_decay is -1.0: expected"),
    ("gpt2_arms.wd_1.n_ctx", 64, "arm wd_1: n_ctx is 64: expected the preset's"),
    ("gpt2_arms.wd_1.weight_decay", 2000.0, "lr is 0.001 and weight_decay 2000: expected a product below 1"),
    ("gpt2.dumps.windows", [600], "dumps.windows is [600]: expected one that ends within 500 steps"),
    ("gpt2_arms.wd_1.lrr", 64, "lrr is 64: expected no such key"),
    ("gpt2_arms", [], "gpt2_arms is []: expected a mapping"),
    ("analyze.recorded", ["nowhere"], "analyze.recorded has 'nowhere': expected a folder in data/recorded"),
    ("analyze.e3.arm", "nothing", "analyze.e3.arm is 'nothing': expected one of gpt2, "),
    ("extra", {}, "section extra is unknown: expected study, studies, classification"),
    ("study", "tiny", "study is 'tiny': expected one of default, smoke"),
    ("studies.default.mlp", {}, "studies.default: section mlp is unknown: expected classification, corpus"),
    ("studies.smoke.gpt2.arms", ["gpt2"], "studies.smoke.gpt2.arms is set: expected in gpt2 itself"),
    ("studies.default.gpt2.lr", -0.1, "gpt2.lr is -0.1: expected greater than 0"),
    ("studies.smoke", None, "studies.smoke is None: expected a mapping"),
    ("gpt2_arms", ARMS | {"a; touch x": {}}, "gpt2_arms.'a; touch x': expected letters, digits"),
    ("gpt2_arms", ARMS | {"../a": {}}, "gpt2_arms.'../a': expected letters"),
    ("analyze.recorded", [".."], "analyze.recorded has '..': expected a folder in data/recorded"),
    ("studies.default.corpus", 3, "studies.default.corpus is 3: expected a mapping"),
    ("corpus.hub.revision", "main", "corpus.hub.revision is 'main': expected the 40 hex digits of a commit"),
    ("classification.mnist.hub_revision", "v1.0", "hub_revision is 'v1.0': expected the 40 hex digits"),
    ("analyze.recorded", ["local"], "analyze.recorded has 'local': expected a folder in data/recorded"),
    ("analyze.recorded", ["a", "a"], "analyze.recorded is ['a', 'a']: expected entries that differ"),
    # Studies that are not chosen
    ("studies.smoke.gpt2_presets.cpu.vocab_size", {}, "is {}: expected a valid integer (in study smoke)"),
    ("studies.smoke.mlp_sweep.steps", 0, "mlp_sweep.steps is 0: expected greater than or equal to 1 (in stu"),
    ("studies.full.mlp_sweep", {"steps": {"x": 1}}, "mlp_sweep.steps is {'x': 1}: expected a valid int"),
    ("studies.full.gpt2", {"lrr": 1}, "gpt2.lrr is 1: expected no such key (in study full)"),
    ("studies.full.gpt2_presets", {"gpu": {"step": 9}}, "gpt2_presets.gpu.step is 9: expected no such key"),
    # Names that DVC would look up as paths or globs
    ("gpt2_presets", {"[c]pu": {}}, "gpt2_presets.'[c]pu': expected letters, digits, _ and -"),
    ("studies", {"a b": {}}, "studies.'a b': expected letters, digits, _ and -"),
    ("mlp_sweep.tasks", {"w*": {}}, "mlp_sweep.tasks.'w*': expected letters, digits, _ and -"),
    # Files and distributions that are missing
    ("classification.datasets", ["mnist"], "path is data/raw/mnist: no train-images-idx3-ubyte"),
    ("corpus.source", "files", "corpus.files has 'data/raw/text/**', which matches no file"),
    ("corpus.packages", ["no-such-thing"], "has 'no-such-thing': expected an installed distribution"),
]


@pytest.fixture(scope="module")
def whole():
    return alone(params.load(ROOT / "params.yaml"))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(tree):
        monkeypatch.setattr(params, "load", lambda: tree)  # tests/base/test_params.py tests it
        validate.main()
        return tmp_path / "data/validated.json"

    return run


def put(tree, key, value):
    *parents, last = key.split(".")
    for name in parents:
        tree = tree.setdefault(name, {})
    tree[last] = value


@pytest.mark.parametrize(("key", "value", "message"), CHANGES,
                         ids=[f"{key}={value}" for key, value, _ in CHANGES])
def test_each_mistake_ends_in_one_line(whole, run, capsys, tmp_path, key, value, message):
    tree = copy.deepcopy(whole)
    put(tree, key, value)
    with pytest.raises(SystemExit) as ended:
        run(tree)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert len(line) < 400
    assert not (tmp_path / "data").exists()


def test_images_under_a_name_of_params_need_tasks_and_files(whole, run, capsys, tmp_path):
    tree = copy.deepcopy(whole)
    put(tree, "classification.idx", {"fashion": "data/raw/fashion"})
    put(tree, "classification.datasets", ["wine", "fashion"])
    for key, task, message in (
        ("mlp_sweep.tasks.fashion", {"batch_size": 8, "widths": [8]}, "mlp_sweep.tasks.fashion is missing"),
        ("init_comparison.tasks.fashion", {"batch_size": 8}, "init_comparison.tasks.fashion is missing"),
        ("classification.idx.other", "-", "idx.fashion is data/raw/fashion: no train-images-idx3"),
    ):
        with pytest.raises(SystemExit):
            run(tree)
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
        put(tree, key, task)


def test_a_linked_folder_in_data_raw_is_refused_before_anything_runs(whole, run, capsys, tmp_path):
    (tmp_path / "books").mkdir()
    (tmp_path / "books/a.txt").write_text("text")
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/text").symlink_to(tmp_path / "books")
    tree = copy.deepcopy(whole)
    put(tree, "corpus.source", "files")
    with pytest.raises(SystemExit):
        run(tree)
    (line,) = capsys.readouterr().err.splitlines()
    assert "data/raw/text is a link to a folder, in which DVC sees no change: expected a folder" in line


def test_a_threshold_that_a_recorded_run_was_not_counted_by(whole, run, capsys, tmp_path):
    tree = copy.deepcopy(whole)
    (tmp_path / "data/recorded/other").mkdir(parents=True)
    tree["analyze"]["recorded"] = ["other"]
    run(tree)
    noted = {"params": {"analyze": {"e1": {"tail_fraction": 0.2}}}}
    (tmp_path / "data/recorded/other/provenance.json").write_text(json.dumps(noted))
    run(tree)  # the folder holds no MLPs, and the threshold is about these only
    (tmp_path / "data/recorded/other/mlp_sweep").mkdir()
    with pytest.raises(SystemExit):
        run(tree)
    (line,) = capsys.readouterr().err.splitlines()
    assert "analyze.e1.tail_fraction is 0.1: expected 0.2, by which the recorded run other" in line


@pytest.mark.parametrize("section", [*params.STUDY_KEYS, *checks.STUDY_SECTIONS, "gpt2_arms"])
def test_no_section_may_be_missing(whole, run, capsys, section):
    with pytest.raises(SystemExit):
        run({name: value for name, value in whole.items() if name != section})
    assert section in capsys.readouterr().err


def leaves(tree, path=()):
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def test_no_key_may_be_missing_and_every_key_is_named(whole, run, capsys):
    """Each leaf of params.yaml in turn, but not those of arms and studies, which need not set anything."""
    sections = {name: value for name, value in whole.items() if name not in ("gpt2_arms", "studies")}
    for path in leaves(sections):
        tree = copy.deepcopy(whole)
        parent = tree
        for key in path[:-1]:
            parent = parent[key]
        del parent[path[-1]]
        if path[-2:-1] in (("tasks",), ("optimizers",)):
            continue
        with pytest.raises(SystemExit):
            run(tree)
        (line,) = capsys.readouterr().err.splitlines()
        assert path[-1] in line, (path, line)


def test_an_arm_s_name_cannot_bring_a_command_along(whole, run, capsys):
    """A shell runs `gpt2_pretrain` with the name of the arm in its command line."""
    whole = copy.deepcopy(whole)
    whole["gpt2"]["arms"] = ["$(touch x)"]
    whole["gpt2_arms"]["$(touch x)"] = {}
    with pytest.raises(SystemExit):
        run(whole)
    assert "'$(touch x)': expected letters" in capsys.readouterr().err


def test_values_that_do_not_fit_a_study_that_is_not_chosen_are_accepted(whole, run):
    """The smoke study has lrs without this one. It is not chosen, and may never be together with it."""
    tree = copy.deepcopy(whole)
    put(tree, "init_comparison.optimizers.sgd.shared_lr", 0.003)
    put(tree, "init_comparison.optimizers.adamw", None)
    assert run(tree).exists()


KINDS = {"study": "studies", "preset": "gpt2_presets", "arm": "gpt2_arms", "task": "mlp_sweep.tasks",
         "other task": "init_comparison.tasks"}


@pytest.mark.parametrize("kind", KINDS)
@given(name=st.text("ab1.*?[]{}$ /:!-_,|é\n", max_size=5))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_name_that_dvc_would_look_up_as_another_is_refused(whole, monkeypatch, kind, name):
    """DVC reads a dotted key as a path and a glob. What is not refused, DVC finds under its own key."""
    tree = copy.deepcopy(whole)
    entries = params_at(tree, KINDS[kind])
    assume(name not in entries)
    entries[name] = {"its_own": 1}
    try:
        checks.names(tree)
    except BadInput as problem:
        assert f"{KINDS[kind]}.{name!r}: expected letters, digits, _ and -" in str(problem)
        return
    monkeypatch.setattr("dvc.dependency.param.load_path", lambda *_, **__: copy.deepcopy(tree))
    key = f"{KINDS[kind]}.{name}"
    assert params_at(read_param_file(None, "params.yaml", [key]), KINDS[kind]) == {name: {"its_own": 1}}


def params_at(tree, key):
    for name in key.split("."):
        tree = tree[name]
    return tree


@pytest.fixture
def committed(whole, tmp_path, monkeypatch):
    """A git repository with the smoke study chosen and committed; returns what the stage says of a file."""
    repository(tmp_path)
    monkeypatch.chdir(tmp_path)

    def said(capsys, **changed):
        tree = copy.deepcopy(whole) | {"study": "smoke"}
        for key, value in changed.items():
            put(tree, key.replace("__", "."), value)
        (tmp_path / "params.yaml").write_text(json.dumps(tree))
        with contextlib.suppress(SystemExit):
            validate.main()
        return capsys.readouterr().err

    return said


def test_a_change_that_the_chosen_study_overrides_is_refused(committed, tmp_path, capsys):
    """It would change no result, after training anew."""
    changed = {"mlp_sweep__steps": 500}
    assert committed(capsys, **changed) == "", "nothing is committed yet"
    committed(capsys)
    commit(tmp_path, "smoke")
    assert committed(capsys) == ""
    assert committed(capsys, **changed) == (
        "error: params.yaml: mlp_sweep.steps is 500, but studies.smoke.mlp_sweep.steps is 20 and wins: "
        "expected studies.smoke.mlp_sweep.steps changed instead, or a commit of mlp_sweep.steps, if the "
        "change is for other studies\n")
    assert "gpt2_presets.cpu.steps is 50, but" in committed(capsys, gpt2_presets__cpu__steps=50)
    assert committed(capsys, studies__smoke__mlp_sweep__steps=30) == ""
    assert committed(capsys, studies__smoke__mlp_sweep__steps=30, **changed) == "", "both were changed"
    assert committed(capsys, gpt2__lr=0.002) == "", "the study has no value of its own"
    assert committed(capsys, study="default", **changed) == ""
    commit(tmp_path, "another value for other studies")
    assert committed(capsys, **changed) == ""
    (tmp_path / "params.yaml").write_text("[")
    commit(tmp_path, "a file that cannot be read")
    assert committed(capsys, **changed) == ""


@pytest.mark.parametrize(("key", "value"), [
    ("gpt2.device", "cuda"), ("gpt2_presets.cpu.device", "cuda"), ("gpt2_arms.constant_lr.device", "cuda")])
def test_a_gpu_that_is_not_here_is_missed_before_training(whole, run, capsys, monkeypatch, key, value):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    tree = copy.deepcopy(whole)
    put(tree, key, value)
    with pytest.raises(SystemExit):
        run(tree)
    assert "gpt2.device is 'cuda': no CUDA device here: expected cpu" in capsys.readouterr().err


def test_more_processes_than_gpus_are_missed_too(whole, run, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    tree = copy.deepcopy(whole)
    put(tree, "gpt2.device", "cuda")
    run(tree)
    put(tree, "gpt2.processes", 2)
    with pytest.raises(SystemExit):
        run(tree)
    assert "gpt2.processes is 2: expected at most one for each GPU here, 1" in capsys.readouterr().err


def test_runs_that_were_trained_on_a_gpu_are_analyzed_without_one(whole, run, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    tree = copy.deepcopy(whole)
    put(tree, "gpt2.device", "cuda")
    for arm in tree["gpt2"]["arms"]:
        for seed in tree["gpt2"]["seeds"]:
            folder = tmp_path / f"data/gpt2/{arm}-{seed}"
            folder.mkdir(parents=True)
            (folder / "run.json").write_text('{"device": "cuda"}')
    run(tree)
    (folder / "run.json").write_text('{"device": "cpu"}')
    with pytest.raises(SystemExit):
        run(tree)


@pytest.mark.parametrize("study", ["default", "smoke"])
def test_the_studies_are_valid_and_the_output_is_always_the_same(whole, run, study):
    assert run(whole | {"study": study}).read_bytes() == b'{"valid": true}\n'


def test_it_is_quick_because_it_imports_nothing_heavy(tmp_path):
    script = (
        "import sys; from study.stages import validate; validate.main()\n"
        "print(*{'torch', 'pandas', 'matplotlib', 'datasets', 'sklearn', 'scipy'} & set(sys.modules))"
    )
    (tmp_path / "data").mkdir()
    for name in ("params.yaml", "data/recorded"):
        (tmp_path / name).symlink_to(ROOT / name)
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert result.stdout == "\n", result
