"""The pipeline of this repository at its smallest, under DVC: text, one run of GPT-2, and three toys.

The output of `analysis` is cached, like those of `analyze` and `plot`; `summary` copies it to where git
tracks it, like `numbers` and `figures`.
"""

import hashlib
import shutil
import time
from pathlib import Path

import psutil
import yaml

from copies import commit, environment, repository, run
from imports import ROOT
from study.base import params

ENV = environment(OMP_NUM_THREADS="1")
GPT2 = "gpt2_pretrain@gpt2-0"
COPIED = (".gitignore", ".dvcignore", "Makefile", "requirements.lock", ".dvc/config", ".dvc/.gitignore")
LR, OTHER_LR = 0.001, 0.002
ANALYSIS = """
import json
from pathlib import Path
tokens = json.loads(Path("data/corpus/manifest.json").read_text())["train"]["tokens"]
Path("data/analysis").write_text(json.dumps({"tokens": tokens}))
"""
SUMMARY = """
from pathlib import Path
for folder in ("metrics", "plots"):
    Path(folder).mkdir(exist_ok=True)
    Path(folder, "summary.json").write_text(Path("data/analysis").read_text())
"""
OTHER = """
import time
from pathlib import Path
time.sleep(2)
Path("data/other").write_text("done")
"""
TOYS = {
    "analysis": {"cmd": "python analysis.py", "deps": ["data/corpus", "analysis.py"],
                 "outs": ["data/analysis"]},
    "summary": {"cmd": "python summary.py", "deps": ["data/analysis", "summary.py"],
                "outs": [{f"{folder}/summary.json": {"cache": False}} for folder in ("metrics", "plots")]},
    "other": {"cmd": "python other.py", "deps": ["other.py"], "outs": ["data/other"]},
}


def write(folder, text=None):
    """Write the pipeline into a folder and make a git repository of it; nothing is run yet."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in COPIED:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/.gitkeep").touch()
    (folder / "params.yaml").write_text(text or smallest())
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    stages = {name: stages[name] for name in ("validate", "corpus", "gpt2_pretrain")} | TOYS
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages, "metrics": ["metrics/summary.json"]}))
    for name, code in (("analysis", ANALYSIS), ("summary", SUMMARY), ("other", OTHER)):
        (folder / f"{name}.py").write_text(code)
    repository(folder)
    return folder


def small():
    """The smoke study's params, with one run of GPT-2 that is long enough to be killed."""
    tree = params.load(ROOT / "params.yaml")
    tree["study"] = "smoke"
    tree["gpt2"] |= {"arms": ["gpt2"], "seeds": [0], "checkpoint_every": 20, "lr": LR}
    tree["studies"]["smoke"]["gpt2_presets"]["cpu"]["steps"] = 400
    return yaml.safe_dump(tree)


def smallest():
    """The same with little text and two layers: a `dvc repro` of seconds, of which DVC is a large part."""
    tree = yaml.safe_load(small())
    tree["gpt2"]["checkpoint_every"] = 3
    tree["gpt2"]["dumps"]["histogram_layer"] = 1
    smoke = tree["studies"]["smoke"]
    smoke["corpus"] = {"packages": ["tqdm"], "tokenizer": {"vocab_size": 300}}
    smoke["gpt2_presets"]["cpu"] |= {"n_layer": 2, "vocab_size": 300, "steps": 12}
    return yaml.safe_dump(tree)


def made(folder, text=None):
    """The pipeline in a folder, reproduced and committed."""
    write(folder, text)
    run(folder, "dvc", "repro", OMP_NUM_THREADS="1")
    commit(folder, "done")
    return folder


def dvc(folder, *arguments):
    return run(folder, "dvc", *arguments, check=False, OMP_NUM_THREADS="1")


def outs(folder):
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


def contents(folder):
    """sha256 of each file that the stages make, by its path, and what dvc.lock says of all stages."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    made = [folder / out["path"] for stage in stages.values() for out in stage["outs"]]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for out in made for path in under(out)} | {"dvc.lock": stages}


def under(path):
    """The files of an output, which is a file or a folder."""
    return [each for each in sorted(path.rglob("*")) if each.is_file()] if path.is_dir() else [path]


def kill_all_in(folder):
    """Kill every process that works in the folder, and return their number.

    A queue's worker is no child of the command that started it.
    """
    killed = 0
    for process in psutil.process_iter():
        try:
            inside = Path(process.cwd()).is_relative_to(folder)
        except (psutil.Error, OSError):
            continue
        if inside:
            process.kill()
            killed += 1
    return killed


def wait_until(holds, what):
    until = time.monotonic() + 900
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.2)
