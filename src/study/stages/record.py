"""`python -m study.stages.record NAME [STAGE ...]`: pack what the stages made as data/recorded/NAME.

Packed is what DVC finds up to date with params.yaml, the code and the data, and what has a note of how it was
made (base/runs.py). The rest is listed, here and as `missing` in provenance.json.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from study.analysis import keep
from study.analysis.params import LOCAL, AnalyzeParams
from study.base import params, provenance, runs
from study.base.labelled import load
from variance_dynamics.base.errors import BadInput, one_line

DATA, RECORDED = Path("data"), Path("data/recorded")
BEFORE = {"corpus": None, "classification": None, "mlp_sweep": "classification",
          "init_comparison": "classification", "gpt2_pretrain": "corpus"}
"""The stages that are packed, and the stage whose output each of them reads."""
TOLD = ("commit", "clean", "seconds", "tries", "peak_gpu_memory_gib")
"""What provenance.json says of each part, where its note has it."""


@one_line
def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="record", description=__doc__)
    parser.add_argument("name", help="the folder to write in data/recorded")
    parser.add_argument("stages", nargs="*", help=f"of {', '.join(BEFORE)}; all if none is named")
    given = parser.parse_args(arguments)
    if not params.NAME.fullmatch(given.name) or given.name == LOCAL:
        raise BadInput(f"NAME is {given.name!r}: expected letters, digits, _ and -, and not {LOCAL}")
    for stage in given.stages:
        if stage not in BEFORE:
            raise BadInput(f"STAGE is {stage!r}: expected some of {', '.join(BEFORE)}")
    tree = params.read()
    outs = outputs(tree, given.stages or list(BEFORE))
    left = reasons(outs)
    notes = {item: note for item, out in outs.items() if item not in left and (note := runs.note_of(item, out))}
    left |= {item: "no note of how it was made" for item in outs if item not in left | notes}
    out = RECORDED / given.name
    write(out, tree, notes, outs)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {len(notes)} of {len(outs)} parts, {size / 1e6:.1f} MB")
    for item, reason in left.items():
        print(f"missing: {item} ({reason})")


def outputs(tree: dict[str, Any], stages: list[str]) -> dict[str, Path]:
    """Each part by DVC's name, with its folder: the stages, those that they read, GPT-2 by arm and seed."""
    wanted = {*stages, *(BEFORE[stage] for stage in stages)}
    outs = {stage: DATA / stage for stage in BEFORE if stage in wanted and stage != "gpt2_pretrain"}
    if "gpt2_pretrain" in wanted:
        names = [f"{arm}-{seed}" for arm in tree["gpt2"]["arms"] for seed in tree["gpt2"]["seeds"]]
        outs |= {f"gpt2_pretrain@{name}": DATA / "gpt2" / name for name in names}
    return outs


def reasons(outs: dict[str, Path]) -> dict[str, str]:
    """Why parts are not up to date, by their names. A part is not if what it reads is not."""
    changed = status(sorted({stage(item) for item in outs}))
    left = {}
    for item, out in outs.items():
        before = BEFORE[stage(item)]
        if not out.is_dir():
            left[item] = "not run"
        elif item in changed or before in changed:
            left[item] = "made from other params, code or data"
    return left


def stage(item: str) -> str:
    """gpt2_pretrain of gpt2_pretrain@gpt2-0."""
    return item.partition("@")[0]


def status(stages: list[str]) -> dict[str, Any]:
    """What DVC finds changed in these stages, by the names of parts."""
    command = [sys.executable, "-m", "dvc", "status", "--json", *stages]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        told = " ".join(ended.stderr.split()) or "no message"
        raise BadInput(f"dvc status: {told.removeprefix('ERROR: ')}")
    changed: dict[str, Any] = json.loads(ended.stdout)
    return changed


def write(out: Path, tree: dict[str, Any], notes: dict[str, runs.Note], outs: dict[str, Path]) -> None:
    """Replace the recorded run in `out`. BadInput if nothing is up to date, or if it holds more or another study."""
    study = params.load()["study"]
    if not set(notes) - {"corpus", "classification"}:
        raise BadInput(f"{out}: nothing is finished and up to date with params.yaml, code and data: "
                       "expected `dvc repro` of a stage before")
    runs.home().mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=runs.home()) as folder:
        fresh = Path(folder) / out.name
        pack(fresh, tree, [item for item in outs if item in notes], outs)
        content = about(study, tree, notes, outs)
        (fresh / "provenance.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        nothing_is_lost(out, fresh, study)
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(fresh, out)


def pack(out: Path, tree: dict[str, Any], items: list[str], outs: dict[str, Path]) -> None:
    """The tables of the parts `items`, as `analysis.keep` thins them."""
    rules = params.section(tree, "analyze", AnalyzeParams)
    first = tree["gpt2"]["seeds"][0]
    for item in items:
        raw = outs[item]
        if item == "mlp_sweep":
            keep.mlp_sweep(raw, out / item, rules, load())
        elif item == "init_comparison":
            keep.init_comparison(raw, out / item, rules)
        elif stage(item) == "gpt2_pretrain":
            keep.gpt2(raw, out / "gpt2" / raw.name, histograms=raw.name.endswith(f"-{first}"))


def nothing_is_lost(out: Path, fresh: Path, study: str) -> None:
    """BadInput if `out` is of another study, or has an experiment or a run of GPT-2 that `fresh` has not."""
    file = out / "provenance.json"
    if not file.is_file():
        return
    had = json.loads(file.read_text(encoding="utf-8"))["study"]
    if had != study:
        raise BadInput(f"{out} is of the study {had}, and this is {study}: expected another NAME")
    lost = sorted(_results(out) - _results(fresh))
    if lost:
        raise BadInput(f"{out} has {', '.join(lost)}, and this run has not: expected all of it, or another NAME")


def _results(folder: Path) -> set[str]:
    """The folders with tables: mlp_sweep, init_comparison, gpt2/ARM-SEED."""
    return {path.parent.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")}


def about(study: str, tree: dict[str, Any], notes: dict[str, runs.Note], outs: dict[str, Path]) -> dict[str, Any]:
    """provenance.json: what was run where, from what, for how long, and what is missing of it."""
    versions = next(iter(notes.values()))["versions"]
    return {
        "study": study,
        "recorded": {"date": f"{datetime.now(UTC):%Y-%m-%d}", **provenance.commit(Path.cwd())},
        "machines": list({json.dumps(note["machine"]): note["machine"] for note in notes.values()}.values()),
        "versions": versions,
        "wall_seconds": round(sum(note["seconds"] for note in notes.values()), 1),
        "parts": {item: part(note, versions, outs[item]) for item, note in notes.items()},
        "missing": [item for item in outs if item not in notes],
        "data": data_hashes(outs),
        "params": tree | {"analyze": tree["analyze"] | {"recorded": []}},
    }


def part(note: runs.Note, versions: dict[str, str], out: Path) -> dict[str, Any]:
    """What provenance.json says of one part; its versions only where they are not those of the others."""
    told = {key: note[key] for key in TOLD if key in note}
    if (out / "run.json").is_file():
        tokens = json.loads((out / "run.json").read_text(encoding="utf-8"))["tokens_seen"]
        told["tokens_per_second"] = round(tokens / max(note["seconds"], 0.1))
    return told if note["versions"] == versions else told | {"versions": note["versions"]}


def data_hashes(outs: dict[str, Path]) -> dict[str, str]:
    """sha256 of each dataset as it was trained on, and of the corpus's text and tokens."""
    hashes: dict[str, str] = {}
    if "classification" in outs:
        manifest = json.loads((outs["classification"] / "manifest.json").read_text(encoding="utf-8"))
        hashes |= {name: entry["sha256"] for name, entry in manifest.items()}
    if "corpus" in outs:
        manifest = json.loads((outs["corpus"] / "manifest.json").read_text(encoding="utf-8"))
        hashes |= {"corpus text": manifest["sha256"], "corpus train tokens": manifest["train"]["sha256"],
                   "corpus val tokens": manifest["val"]["sha256"]}
    return hashes


if __name__ == "__main__":
    main()
