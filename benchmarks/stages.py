"""Time and peak memory of each stage on the smoke study, and of corpus preparation as the text grows.

Each stage runs as its own process in a copy of the repository. This process stays small, for Linux counts the
parent's memory in the child's peak.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from measure import Row

from study.base import params
from study.data.docstrings import documents

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("validate", "corpus", "classification", "mlp_sweep", "init_comparison", "gpt2_pretrain", "analyze",
          "plot")
MEGABYTES = (9, 18, 36, 72)


def copy(folder: Path) -> None:
    """The files that git knows, without results, and the smoke study chosen."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("metrics/", "plots/", "tests/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    change(folder, {"study": "smoke"})


def change(folder: Path, changes: dict[str, object]) -> None:
    tree = params.merged(params.load(ROOT / "params.yaml"), changes)
    (folder / "params.yaml").write_text(json.dumps(tree), encoding="utf-8")


def run(folder: Path, stage: str, *arguments: str) -> dict[str, float]:
    """Seconds and peak memory in MB of one stage, of itself and its children."""
    command = [sys.executable, "-m", f"study.stages.{stage}", *arguments]
    paths = {"PYTHONPATH": str(folder / "src"), "DVC_ROOT": str(folder)}
    started = time.perf_counter()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=os.environ | paths, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (folder / "log").read_text()[-2000:]
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return {"seconds": round(seconds, 2), "peak_mb": round(usage.ru_maxrss * unit / 1e6)}


def stages(folder: Path) -> Iterator[Row]:
    """Every stage in turn; of GPT-2's runs the first is told, and all are made for `analyze`."""
    gpt2 = params.load(ROOT / "params.yaml")["gpt2"]
    runs = [(arm, str(seed)) for arm in gpt2["arms"] for seed in gpt2["seeds"]]
    for stage in STAGES:
        found = [run(folder, stage, *each) for each in (runs if stage == "gpt2_pretrain" else [()])]
        yield {"bench": "stages", "shape": f"{stage}, smoke study", "peer": "ours", **found[0]}


def corpora(folder: Path) -> Iterator[Row]:
    """The corpus of more and more text of the same kind, a BPE trained on it."""
    subprocess.run([sys.executable, __file__, str(folder), *map(str, MEGABYTES)], check=True)
    for megabytes in MEGABYTES:
        files = {"source": "files", "files": [f"{megabytes}.txt"]}
        change(folder, {"study": "default", "corpus": files | {"tokenizer": {"vocab_size": 4096}}})
        found = run(folder, "corpus")
        found["mb_per_s"] = round(megabytes / found["seconds"], 2)
        yield {"bench": "corpus", "shape": f"{megabytes} MB of text", "peer": "ours", **found}


def write_texts(folder: Path, sizes: list[int]) -> None:
    """Paragraphs of docstrings in random order, one word in ten another, as documents of a hundred."""
    drawn = random.Random(0)
    paragraphs = [each.split() for doc in documents(["networkx"]) for each in doc.split("\n\n")]
    words = [word for paragraph in paragraphs for word in paragraph]
    for megabytes in sizes:
        with (folder / f"{megabytes}.txt").open("w", encoding="utf-8") as file:
            while file.tell() < megabytes * 1e6:
                for paragraph in drawn.choices(paragraphs, k=100):
                    mixed = (drawn.choice(words) if drawn.random() < 0.1 else word for word in paragraph)
                    print(*mixed, file=file)
                print("<|endoftext|>", file=file)


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder)
        return [*stages(folder), *corpora(folder)]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write_texts(Path(sys.argv[1]), [*map(int, sys.argv[2:])])
    else:
        print(json.dumps(rows(), indent=1))
