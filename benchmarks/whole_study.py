"""The default study by `dvc repro` in a fresh clone of HEAD, stage by stage, and a repro with nothing to do.

`make bench BENCH=whole_study`. It takes up to half an hour, so `make bench` leaves it out. A stage's time is
that from DVC's line "Running stage" to the next such line; what DVC itself does for the stage is in it.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from measure import ROOT, Row

RUNNING = "Running stage '"
REPEATS = 3
WHOLE, NOTHING = "all of it", "all of it, nothing to do"


def repro(folder: Path) -> Iterator[tuple[str, float]]:
    """The name and start of each stage that runs, at last ("", the end); AssertionError where DVC fails."""
    dvc = Path(sys.executable).with_name("dvc")
    env = os.environ | {"PATH": f"{dvc.parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    command = [str(dvc), "repro"]
    with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(RUNNING):
                yield line[len(RUNNING):].partition("'")[0], time.perf_counter()
                print(line, end="", file=sys.stderr, flush=True)
    assert process.returncode == 0, f"dvc repro ended with {process.returncode}"
    yield "", time.perf_counter()


def by_stage(begun: list[tuple[str, float]]) -> dict[str, list[float]]:
    """Seconds of each run of each stage; the runs of a matrix are all under the stage's own name."""
    seconds: dict[str, list[float]] = {}
    for (name, start), (_, end) in pairwise(begun):
        seconds.setdefault(name.partition("@")[0], []).append(end - start)
    return seconds


def timed(folder: Path) -> tuple[list[tuple[str, float]], float]:
    """What `repro` yields, and the seconds that all of it took."""
    started = time.perf_counter()
    begun = list(repro(folder))
    return begun, time.perf_counter() - started


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "study"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        begun, whole = timed(folder)
        again = [timed(folder) for _ in range(REPEATS)]
    assert all(len(ran) == 1 for ran, _ in again), "a second repro runs stages"
    nothing = statistics.median(seconds for _, seconds in again)
    seconds = by_stage(begun) | {WHOLE: [whole], NOTHING: [nothing]}
    return [{"bench": "whole study", "shape": "default study", "peer": name, "seconds": round(sum(each), 1),
             "runs": len(each)} for name, each in seconds.items()]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
