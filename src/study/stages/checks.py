"""What one params section alone cannot tell: that sections fit together, and that what they name is there."""

from collections.abc import Collection, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from study.analysis.params import AnalyzeParams, counted_alike
from study.base.params import NAME, STUDY_KEYS, section
from study.data import docstrings, mnist, texts, tokenizer
from study.data.classification import DATASETS
from study.data.classification_params import ClassificationParams
from study.data.corpus_params import CorpusParams
from study.gpt2.params import SELECTORS, Gpt2Params, resolve
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
"""What a study changes: what dvc.yaml tracks of it, so each study has them all and nothing else."""
SECTIONS = (*STUDY_KEYS, *STUDY_SECTIONS, "gpt2_arms")
RECORDED = Path("data/recorded")


def sections(tree: Mapping[str, Any]) -> None:
    """Every section is there and none is unknown, in the file and in each study."""
    _same_names("section", tree, SECTIONS)
    for name, study in _mapping("studies", tree["studies"]).items():
        where = f"studies.{name}"
        _same_names(f"{where}: section", _mapping(where, study), STUDY_SECTIONS)
        for each in STUDY_SECTIONS:
            _mapping(f"{where}.{each}", study[each])
        for key in SELECTORS:
            told = f"{where}.gpt2.{key} is set: expected in gpt2 itself, as dvc.yaml reads it"
            _expect(key not in study["gpt2"], told)


def tasks(classification: ClassificationParams, of: Mapping[str, Collection[str]]) -> None:
    """Every dataset is known, and has a task (batch size, widths) in both experiments."""
    known = ", ".join(DATASETS)
    for name in classification.datasets:
        _expect(name in DATASETS, f"classification.datasets has {name!r}: expected {known}")
    for where, found in of.items():
        for name in found:
            _expect(name in DATASETS, f"{where}.tasks.{name} is unknown: expected {known}")
        for name in classification.datasets:
            _expect(name in found, f"{where}.tasks.{name} is missing: expected one for each dataset")


def gpt2(tree: Mapping[str, Any], vocab_size: int) -> None:
    """Every preset and every arm make a run, and the chosen preset holds the tokenizer's ids."""
    chosen = section(dict(tree), "gpt2", Gpt2Params)
    presets, arms = (_mapping(name, tree[name]) for name in ("gpt2_presets", "gpt2_arms"))
    for arm in dict.fromkeys([*chosen.arms, *arms]):
        _expect(NAME.fullmatch(arm) is not None, f"gpt2_arms.{arm!r}: expected letters, digits, _ and -")
        run, where = resolve(dict(tree), arm), f"gpt2 with preset {chosen.preset} and arm {arm}"
        fits = f"{where}: vocab_size is {run.vocab_size}: expected at least corpus.tokenizer's {vocab_size}"
        _expect(run.vocab_size >= vocab_size, fits)
        one = f"{where}: n_ctx is {run.n_ctx}: expected the preset's, which the stage corpus reads"
        _expect(run.n_ctx == presets[chosen.preset].get("n_ctx"), one)
        rates = f"lr is {run.lr:g} and weight_decay {run.weight_decay:g}"
        _expect(run.lr * run.weight_decay < 1, f"{where}: {rates}: expected a product below 1")
        ends = f"dumps.windows is {run.dumps.windows}: expected one that ends within {run.steps} steps"
        _expect(any(window <= run.steps for window in run.dumps.windows), f"{where}: {ends}")
    for preset in presets:
        resolve(dict(tree), chosen.arms[0], preset)


def analysis(tree: Mapping[str, Any], analyze: AnalyzeParams) -> None:
    """The arms that claims are about exist, and so do the recorded runs, counted by the same rules."""
    arms = tree["gpt2_arms"]
    for key, arm in (("arm", analyze.e3.arm), ("constant_arm", analyze.e3.constant_arm)):
        _expect(arm in arms, f"analyze.e3.{key} is {arm!r}: expected one of {', '.join(arms)}")
    for name in analyze.recorded:
        there = Path(name).name == name != ".." and (RECORDED / name).is_dir()
        _expect(there, f"analyze.recorded has {name!r}: expected a folder in {RECORDED}")
        counted_alike(analyze, RECORDED / name)


def data(classification: ClassificationParams, corpus: CorpusParams) -> None:
    """What the data stages will read is there: files and distributions. They judge what is in it."""
    if "mnist" in classification.datasets and classification.mnist.source == "files":
        for name in chain(*mnist.FILES.values()):
            mnist.find(Path(classification.mnist.path), name)
    if corpus.source == "files":
        texts.paths(corpus.files)
    if corpus.source == "docs":
        for package in corpus.packages:
            docstrings.installed(package)
    if corpus.tokenizer.kind == "gpt2":
        tokenizer.gpt2_files(Path(corpus.tokenizer.gpt2_path))


def _same_names(what: str, found: Collection[str], expected: Collection[str]) -> None:
    names = ", ".join(expected)
    for name in found:
        _expect(name in expected, f"{what} {name} is unknown: expected {names}")
    for name in expected:
        _expect(name in found, f"{what} {name} is missing: expected {names}")


def _mapping(where: str, value: object) -> Mapping[str, Any]:
    _expect(isinstance(value, dict), f"{where} is {value!r:.60}: expected a mapping")
    return value  # type: ignore[return-value]


def _expect(holds: bool, told: str) -> None:
    if not holds:
        raise BadInput(f"params.yaml: {told}")
