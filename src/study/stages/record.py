"""`python -m study.stages.record NAME [STAGE ...]`: pack what the stages made as data/recorded/NAME.

A part is a stage, or one run of GPT-2. It is packed if DVC finds it up to date with params.yaml, the code and
the data, and if a note says how it was made (base/runs.py). The others are listed, and `missing` in
provenance.json names them.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from study.analysis import keep
from study.analysis.mlp import KEPT
from study.analysis.params import LOCAL, AnalyzeParams
from study.base import params, provenance, runs
from study.base.labelled import load
from variance_dynamics.base import rows
from variance_dynamics.base.atomic import replacing
from variance_dynamics.base.errors import BadInput, one_line

DATA, RECORDED = Path("data"), Path("data/recorded")
GPT2 = "gpt2_pretrain"
READS = {"corpus": "", "classification": "", "mlp_sweep": "classification",
         "init_comparison": "classification", GPT2: "corpus"}
"""The stages that are packed, each with the one whose output it reads."""
NOTED = ("commit", "clean", "seconds", "tries", "peak_gpu_memory_gib")
"""What provenance.json takes over from a part's note, where it is there."""
Tree = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A part: DVC's name for it, its folder, its note, and why it cannot be packed (empty if it can)."""

    name: str
    out: Path
    note: runs.Note
    missing: str

    @property
    def stage(self) -> str:
        return stage(self.name)


@one_line
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="record", description=__doc__)
    parser.add_argument("name", help="the folder to write in data/recorded")
    parser.add_argument("stages", nargs="*", help=f"of {', '.join(READS)}; all of them if none is named")
    given = parser.parse_args(arguments)
    if not params.NAME.fullmatch(given.name) or given.name == LOCAL:
        raise BadInput(f"NAME is {given.name!r}: expected letters, digits, _ and -, and not {LOCAL}")
    for name in given.stages:
        if name not in READS:
            raise BadInput(f"STAGE is {name!r}: expected some of {', '.join(READS)}")
    tree, out = params.read(), RECORDED / given.name
    every = parts(folders(tree, given.stages or list(READS)))
    write(out, params.load()["study"], tree, every)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    packed = sum(not part.missing for part in every)
    print(f"{out}: {packed} of {len(every)} parts, {size / 1e6:.1f} MB")
    for part in every:
        if part.missing:
            print(f"missing: {part.name} ({part.missing})")


def folders(tree: Tree, stages: list[str]) -> dict[str, Path]:
    """The parts of these stages, and of those that they read, with the folders that they write."""
    wanted = {*stages, *(READS[name] for name in stages)}
    names = [f"{arm}-{seed}" for arm in tree["gpt2"]["arms"] for seed in tree["gpt2"]["seeds"]]
    every = {name: DATA / name for name in READS if name != GPT2}
    every |= {f"{GPT2}@{name}": DATA / "gpt2" / name for name in names}
    return {name: folder for name, folder in every.items() if stage(name) in wanted}


def stage(part: str) -> str:
    """gpt2_pretrain for gpt2_pretrain@gpt2-0."""
    return part.partition("@")[0]


def parts(outs: dict[str, Path]) -> list[Part]:
    """Each part as it stands. A part is out of date, too, if the stage that it reads is out of date."""
    changed, every = status({stage(name) for name in outs}), []
    for name, out in outs.items():
        note, missing = None, "not run"
        if out.is_dir():
            note, missing = runs.note_of(name, out), "no note of how it was made here"
        if out.is_dir() and {name, READS[stage(name)]} & changed:
            missing = "made from other params, code or data"
        elif note:
            missing = ""
        every.append(Part(name, out, note or {}, missing))
    return every


def status(stages: set[str]) -> set[str]:
    """The parts of these stages that DVC does not find up to date."""
    command = [sys.executable, "-m", "dvc", "status", "--json", *sorted(stages)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise BadInput(f"dvc status: {' '.join(ended.stderr.split()).removeprefix('ERROR: ')}")
    return set(json.loads(ended.stdout))


def write(out: Path, study: str, tree: Tree, every: list[Part]) -> None:
    """Replace the folder `out` by what can be packed.

    Raises BadInput if that is nothing, or if `out` holds another study or a part that is missing now.
    """
    packed = [part for part in every if not part.missing]
    if not any(READS[part.stage] for part in packed):
        reasons = ", ".join(sorted({part.missing for part in every if part.missing}))
        raise BadInput(f"{out}: nothing can be recorded ({reasons}): expected `dvc repro` before")
    with replacing(out) as fresh:
        fresh.mkdir()
        text = json.dumps(described(study, tree, every), indent=2) + "\n"
        (fresh / "provenance.json").write_text(text, encoding="utf-8")
        pack(fresh, tree, packed)
        check_nothing_is_lost(out, fresh, study)


def pack(out: Path, tree: Tree, packed: list[Part]) -> None:
    """Write the parts' tables as `keep` thins them; of GPT-2, histograms of the first seed alone."""
    rules = params.section(tree, "analyze", AnalyzeParams)
    first = tree["gpt2"]["seeds"][0]
    for part in packed:
        if part.stage == "mlp_sweep":
            keep.mlp_sweep(part.out, out / part.name, rules, load())
        elif part.stage == "init_comparison":
            keep.init_comparison(part.out, out / part.name, rules)
        elif part.stage == GPT2:
            keep.gpt2(part.out, out / "gpt2" / part.out.name, part.out.name.endswith(f"-{first}"))


def check_nothing_is_lost(out: Path, fresh: Path, study: str) -> None:
    """BadInput if `out` is of another study, or has an experiment or a run of GPT-2 that `fresh` has not."""
    if not (out / "provenance.json").is_file():
        return
    before = json.loads((out / "provenance.json").read_text(encoding="utf-8"))["study"]
    if before != study:
        raise BadInput(f"{out} is of study {before}, and this is study {study}: expected another NAME")
    lost = _results(out) - _results(fresh)
    named = sorted(name for name in lost if " of " not in name or name.partition(" of ")[0] not in lost)
    if named:
        what = f"{out} has {', '.join(named)}, which is missing here"
        raise BadInput(f"{what}: expected it up to date, or another NAME")


def _results(folder: Path) -> set[str]:
    """The folders with tables (mlp_sweep, init_comparison, gpt2/ARM-SEED), and the shapes of MLPs in them."""
    names = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")}
    for path in folder.glob(f"*/{KEPT}"):
        shapes = rows.read(path, ["dataset", "width", "depth"]).drop_duplicates()
        names |= {f"{path.parent.name} of {dataset} at width {width} and depth {depth}"
                  for dataset, width, depth in shapes.itertuples(index=False)}
    return names


def described(study: str, tree: Tree, every: list[Part]) -> dict[str, Any]:
    """provenance.json: what was run where, from what and for how long, and what is missing of it."""
    packed = [part for part in every if not part.missing]
    versions = packed[0].note["versions"]
    machines = {json.dumps(part.note["machine"]): part.note["machine"] for part in packed}
    return {
        "study": study,
        "recorded": {"date": f"{datetime.now(UTC):%Y-%m-%d}", **provenance.commit(Path.cwd())},
        "machines": list(machines.values()),
        "versions": versions,
        "wall_seconds": round(sum(part.note["seconds"] for part in packed), 1),
        "parts": {part.name: _of_part(part, versions) for part in packed},
        "missing": [part.name for part in every if part.missing],
        "data": data_hashes({name for part in packed for name in (part.stage, READS[part.stage])}),
        "params": tree | {"analyze": tree["analyze"] | {"recorded": []}},
    }


def _of_part(part: Part, versions: dict[str, str]) -> dict[str, Any]:
    """What provenance.json says of a part; its versions only where they are not `versions`."""
    about = {key: part.note[key] for key in NOTED if key in part.note}
    if part.stage == GPT2:
        run = json.loads((part.out / "run.json").read_text(encoding="utf-8"))
        about["tokens_per_second"] = round(run["tokens_seen"] / max(part.note["seconds"], 0.1))
    return about if part.note["versions"] == versions else about | {"versions": part.note["versions"]}


def data_hashes(stages: set[str]) -> dict[str, str]:
    """sha256 of each dataset as it was trained on, and of the corpus's text and tokens."""
    hashes: dict[str, str] = {}
    if "classification" in stages:
        manifest = json.loads((DATA / "classification/manifest.json").read_text(encoding="utf-8"))
        hashes |= {name: entry["sha256"] for name, entry in manifest.items()}
    if "corpus" in stages:
        manifest = json.loads((DATA / "corpus/manifest.json").read_text(encoding="utf-8"))
        hashes |= {"corpus text": manifest["sha256"], "corpus train tokens": manifest["train"]["sha256"],
                   "corpus val tokens": manifest["val"]["sha256"]}
    return hashes


if __name__ == "__main__":
    main()
