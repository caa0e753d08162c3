"""The full study cut into parts: each runs ordinary stages on its own, in a folder of its own."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from study.base import params
from study.gpt2.params import EXECUTION, resolve
from study.stages.checks import STUDY_SECTIONS
from variance_dynamics.base.errors import BadInput

E1, E2, E3, CORPUS = "mlp_sweep", "init_comparison", "gpt2_pretrain", "corpus"
PRESET = "cpu"
"""Of E3: a recorded run names its machine, and this is what a CPU can do."""
Tree = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One step of the way: a stage, its command line's arguments, and the part's own resolved params."""

    name: str
    stage: str
    arguments: tuple[str, ...]
    tree: Tree

    @property
    def stages(self) -> list[tuple[str, ...]]:
        """Stages with arguments, in the order in which they run."""
        before = [("classification",)] if self.stage in (E1, E2) else []
        return [*before, (self.stage, *self.arguments)]

    def facts(self) -> Any:
        """What decides the result, code aside: anything that JSON holds."""
        if self.stage == E3:
            run = resolve(self.tree, self.arguments[0])
            return [run.model_dump(exclude=EXECUTION), self.arguments, self.tree[CORPUS]]
        if self.stage == CORPUS:
            return [self.tree[CORPUS], self.tree["gpt2_presets"][PRESET]["n_ctx"]]
        return [self.tree["classification"], self.tree[self.stage]]


def whole(study: str, path: Path = params.PATH) -> Tree:
    """The study's tree: its overlay, all arms, and the preset for a CPU; BadInput for an unknown study."""
    tree = params.overlaid(params.load(path) | {"study": study})
    gpt2 = tree["gpt2"] | {"preset": PRESET, "arms": list(tree["gpt2_arms"])}
    return tree | {"gpt2": gpt2, "analyze": tree["analyze"] | {"recorded": []}}


def parts(tree: Tree) -> list[Part]:
    """E1 by dataset and width, E2 by dataset and depth, the corpus, E3 by arm and seed."""
    found = []
    for dataset in tree["classification"]["datasets"]:
        only: Tree = {"classification": {"datasets": [dataset]}}
        for width in tree[E1]["tasks"][dataset]["widths"]:
            change: Tree = {**only, E1: {"tasks": {dataset: {"widths": [width]}}}}
            found.append(Part(f"e1-{dataset}-{width}", E1, (), params.merged(tree, change)))
        for depth in tree[E2]["depths"]:
            change = {**only, E2: {"depths": [depth]}}
            found.append(Part(f"e2-{dataset}-{depth}", E2, (), params.merged(tree, change)))
    runs = [(arm, str(seed)) for arm in tree["gpt2"]["arms"] for seed in tree["gpt2"]["seeds"]]
    gpt2 = [Part(f"e3-{arm}-{seed}", E3, (arm, seed), tree) for arm, seed in runs]
    found.sort(key=lambda part: part.stage == E2)
    return [*found, Part(CORPUS, CORPUS, (), tree), *gpt2]


def chosen(every: list[Part], wanted: list[str]) -> list[Part]:
    """Parts that a name or its beginning (e1, e3-gpt2) chooses, in that order; none chooses all.

    E3 brings the corpus along. BadInput for a name that chooses nothing.
    """
    for name in wanted:
        if not any(_chooses(name, part) for part in every):
            known = ", ".join(part.name for part in every)
            raise BadInput(f"PARTS has {name!r}: expected the names or beginnings of {known}")
    found: list[Part] = []
    for part in [part for name in wanted for part in every if _chooses(name, part)] if wanted else every:
        before = [each for each in every if part.stage == E3 and each.stage == CORPUS]
        found += [each for each in [*before, part] if each not in found]
    return found


def _chooses(name: str, part: Part) -> bool:
    return part.name == name or part.name.startswith(f"{name}-")


def write_params(tree: Tree, path: Path) -> None:
    """`tree` as a params.yaml in which no study changes anything, read back to be sure."""
    same = {"study": "full", "studies": {"full": {name: {} for name in STUDY_SECTIONS}}, **tree}
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(same, file)
    assert params.read(path) == tree, f"{path} does not hold the params that it was written from"


def fingerprint(part: Part, pipeline: Path = Path("dvc.yaml")) -> str:
    """sha256 of the part's facts and of the code and versions that its stages depend on in dvc.yaml."""
    stages = _stages(pipeline.read_text(encoding="utf-8"))
    names = [name for name, *_ in part.stages] + ([CORPUS] if part.stage == E3 else [])
    deps = {dep for name in names for dep in stages[name]["deps"]}
    files = [dep for dep in deps if dep.startswith(("src/", "requirements"))]
    code = {dep: hashlib.sha256((pipeline.parent / dep).read_bytes()).hexdigest() for dep in sorted(files)}
    return hashlib.sha256(json.dumps([part.facts(), code], sort_keys=True).encode()).hexdigest()


@cache
def _stages(pipeline: str) -> dict[str, Any]:
    """The stages of dvc.yaml's text; reading it takes most of a second."""
    return dict(YAML(typ="safe").load(pipeline)["stages"])
