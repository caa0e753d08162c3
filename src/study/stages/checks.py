"""Checks across params sections: that they fit together, and that what they name exists here."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from study.analysis.params import AnalyzeParams, counted_alike, recorded
from study.base import params, provenance, run_json
from study.base.params import NAME, STUDY_KEYS, Section, section
from study.data import docstrings, mnist, texts, tokenizer
from study.data.classification import known as known_datasets
from study.data.params import ClassificationParams, CorpusParams
from study.gpt2.params import SELECTORS, Gpt2Params, Gpt2Run, check_gpus, merged_knobs, resolve
from study.mlp.params import InitComparisonParams, MlpSweepParams
from study.plotting.params import PlotParams
from variance_dynamics.base.errors import BadInput

STUDY_SECTIONS = (
    "classification",
    "corpus",
    "mlp_sweep",
    "init_comparison",
    "gpt2",
    "gpt2_presets",
    "analyze",
    "plot",
)
"""The sections that a study may change. dvc.yaml tracks each, so every study has all of them and no other."""
SECTIONS = (*STUDY_KEYS, *STUDY_SECTIONS, "gpt2_arms")
RUNS = Path("data/gpt2")
KINDS: dict[str, type[Section]] = {
    "classification": ClassificationParams, "corpus": CorpusParams, "mlp_sweep": MlpSweepParams,
    "init_comparison": InitComparisonParams, "gpt2": Gpt2Params, "analyze": AnalyzeParams, "plot": PlotParams}
"""The type of each section that has one; a preset has that of a run, Gpt2Run."""


def names(tree: Mapping[str, Any], where: str = "") -> None:
    """Every key, at any depth, is a name that means itself to DVC.

    DVC looks keys up as paths and globs: of a preset `[c]pu` it would track the values of `cpu`.
    """
    for key, value in tree.items():
        _expect(NAME.fullmatch(key) is not None, f"{where}{key!r}", "letters, digits, _ and -")
        if isinstance(value, dict):
            names(value, f"{where}{key}.")


def sections(tree: Mapping[str, Any]) -> None:
    """The file, and each study in it, has every section and no unknown one."""
    _same_names("section", tree, SECTIONS)
    for name, study in _mapping("studies", tree["studies"]).items():
        where = f"studies.{name}"
        _same_names(f"{where}: section", _mapping(where, study), STUDY_SECTIONS)
        for each in STUDY_SECTIONS:
            _mapping(f"{where}.{each}", study[each])
        for key in SELECTORS:
            given = f"{where}.gpt2.{key} is set"
            _expect(key not in study["gpt2"], given, "in gpt2 itself, as dvc.yaml reads it")


def tasks(
    classification: ClassificationParams, mlp_sweep: MlpSweepParams, init_comparison: InitComparisonParams
) -> None:
    """Every dataset is known, and has a task (batch size, widths) in E1 and in E2."""
    datasets = known_datasets(classification)
    known = ", ".join(datasets)
    for name in classification.datasets:
        _expect(name in datasets, f"classification.datasets has {name!r}", known)
    for where, of in (("mlp_sweep", mlp_sweep.tasks), ("init_comparison", init_comparison.tasks)):
        for name in of:
            _expect(name in datasets, f"{where}.tasks.{name} is unknown", known)
        for name in classification.datasets:
            _expect(name in of, f"{where}.tasks.{name} is missing", "one for each dataset")


def gpt2(tree: Mapping[str, Any], vocab_size: int) -> None:
    """Every preset is valid, and so is every arm with the chosen preset.

    `vocab_size` is the largest number of ids that the tokenizer can have.
    """
    chosen = section(dict(tree), "gpt2", Gpt2Params)
    presets, arms = (_mapping(name, tree[name]) for name in ("gpt2_presets", "gpt2_arms"))
    for arm in dict.fromkeys([*chosen.arms, *arms]):
        run, where = resolve(dict(tree), arm), f"gpt2 with preset {chosen.preset} and arm {arm}"
        _expect(run.vocab_size >= vocab_size, f"{where}: vocab_size is {run.vocab_size}",
                f"at least corpus.tokenizer's {vocab_size}")
        _expect(run.n_ctx == presets[chosen.preset].get("n_ctx"), f"{where}: n_ctx is {run.n_ctx}",
                "the preset's, which the stage corpus reads")
        _expect(run.lr * run.weight_decay < 1,
                f"{where}: lr is {run.lr:g} and weight_decay {run.weight_decay:g}", "a product below 1")
        _expect(any(window <= run.steps for window in run.dumps.windows),
                f"{where}: dumps.windows is {run.dumps.windows}", f"one that ends within {run.steps} steps")
    for preset in presets:
        resolve(dict(tree), chosen.arms[0], preset)


def analysis(tree: Mapping[str, Any], analyze: AnalyzeParams) -> None:
    """The arms of the claims exist, and so do the recorded runs, which used the same thresholds."""
    arms = tree["gpt2_arms"]
    for key, arm in (("arm", analyze.e3.arm), ("constant_arm", analyze.e3.constant_arm)):
        _expect(arm in arms, f"analyze.e3.{key} is {arm!r}", f"one of {', '.join(arms)}")
    for name in analyze.recorded:
        counted_alike(analyze, recorded(name))


def data(classification: ClassificationParams, corpus: CorpusParams) -> None:
    """The files and distributions that the data stages will read exist. Those stages check the content."""
    if "mnist" in classification.datasets and classification.mnist.source == "files":
        mnist.find(mnist.MNIST, classification.mnist.path)
    for name, path in classification.idx.items():
        if name in classification.datasets:
            mnist.find(f"classification.idx.{name}", path)
    if corpus.source == "files":
        texts.paths(corpus.files)
    if corpus.source == "docs":
        for package in corpus.packages:
            docstrings.installed(package)
    if corpus.tokenizer.kind == "gpt2":
        tokenizer.gpt2_files(Path(corpus.tokenizer.gpt2_path))


def other_study(whole: Mapping[str, Any], study: str) -> None:
    """Each value that a study sets could be its key's, whatever the values of other keys are.

    Whether they fit together is checked when the study is chosen: by then others may have been changed, too.
    """
    tree = params.overlaid(dict(whole))
    for key, value in _leaves(whole["studies"][study]).items():
        for name in reversed(key.split(".")):
            value = {name: value}
        try:
            _check_alone(params.merged(tree, value), *key.split(".")[:2])
        except BadInput as problem:
            raise BadInput(f"{problem} (in study {study})") from None


def _check_alone(tree: dict[str, Any], name: str, preset: str = "") -> None:
    if name != "gpt2_presets":
        params.check_each(tree[name], name, KINDS[name])
        return
    knobs = merged_knobs(tree, tree["gpt2"]["arms"][0], preset)
    params.check_each(knobs, f"{name}.{preset}", Gpt2Run)


def gpus(tree: Mapping[str, Any]) -> None:
    """The GPUs that the chosen arms ask for are here, unless all was trained already: analysis needs none."""
    chosen = section(dict(tree), "gpt2", Gpt2Params)
    for arm in chosen.arms:
        run = resolve(dict(tree), arm)
        if not all(_trained_on(RUNS / f"{arm}-{seed}", run.device) for seed in chosen.seeds):
            check_gpus(run.device, run.processes)


def _trained_on(folder: Path, device: str) -> bool:
    try:
        return run_json.read(folder)["device"] == device
    except (OSError, ValueError, LookupError):
        return False


def changes(whole: Mapping[str, Any]) -> None:
    """Every value that was changed since the last commit counts: the chosen study has no other in its place.

    Such a change would do nothing, and would say so nowhere. It passes if the study's own value was changed
    with it, and where the committed file is not known, as outside of git.
    """
    study = f"studies.{whole['study']}"
    own = _leaves(_at(whole, study))
    before = _committed() if own else {}
    for key, value in own.items():
        is_same = _at(before, key) in (None, _at(whole, key)) or _at(before, f"{study}.{key}") != value
        _expect(is_same, f"{key} is {_at(whole, key)!r:.60}, but {study}.{key} is {value!r:.60} and wins",
                f"{study}.{key} changed instead, or a commit of {key}, if the change is for other studies")


def _committed() -> dict[str, Any]:
    """The last commit's params.yaml, or an empty tree."""
    text = provenance.git(Path.cwd(), "show", f"HEAD:./{params.PATH}")
    try:
        return params.parsed(text or "")
    except BadInput:
        return {}


def _leaves(tree: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """The tree's values by dotted key. An empty mapping is a value, too, unless it is a whole section."""
    parts = (_leaves(value, f"{where}{key}.") if isinstance(value, dict) and (value or not where)
             else {f"{where}{key}": value} for key, value in tree.items())
    return {key: value for part in parts for key, value in part.items()}


def _at(tree: Any, key: str) -> Any:
    """What the tree has at a dotted key, or None."""
    for name in key.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _same_names(what: str, given: Collection[str], expected: Collection[str]) -> None:
    names = ", ".join(expected)
    for name in given:
        _expect(name in expected, f"{what} {name} is unknown", names)
    for name in expected:
        _expect(name in given, f"{what} {name} is missing", names)


def _mapping(where: str, value: object) -> Mapping[str, Any]:
    _expect(isinstance(value, dict), f"{where} is {value!r:.60}", "a mapping")
    return value  # type: ignore[return-value]


def _expect(holds: bool, given: str, expected: str) -> None:
    if not holds:
        raise BadInput(f"params.yaml: {given}: expected {expected}")
