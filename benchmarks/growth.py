"""How time grows with models, tokens, layers and dumps: four sizes each, and the exponent that fits them."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sweep
import torch
from measure import Row, spread
from ours import on_random_tokens

from study.base import params
from study.gpt2.optimizers import adamw
from study.gpt2.params import Gpt2Run, resolve
from study.gpt2.pretrain import Pretraining, build
from variance_dynamics.tracking.tracker import Tracker

ROOT = Path(__file__).resolve().parent.parent
Works = dict[int, Callable[[], object]]


def models(sizes: tuple[int, ...] = (50, 100, 200, 400), steps: int = 30) -> Works:
    """So many MLPs of digits' shape."""
    cases = [sweep.Case("digits", (64, 128, 128, 128, 10), 128, size, 1257, steps, 0) for size in sizes]
    settings = {case.models: sweep.Setting(case) for case in cases}
    return {size: lambda setting=setting: setting.ours(steps) for size, setting in settings.items()}


def tokens(steps: tuple[int, ...] = (4, 8, 16, 32), **changes: Any) -> Works:
    """GPT-2 of preset cpu, tracked, on so many tokens."""
    training = pretraining(**changes)
    each = training.run.batch_size * training.run.n_ctx
    return {each * count: lambda count=count: advance(training, count) for count in steps}


def layers(sizes: tuple[int, ...] = (3, 6, 12, 24), steps: int = 4, **changes: Any) -> Works:
    """The same of so many layers, on the same tokens."""
    deep = {size: pretraining(n_layer=size, **changes) for size in sizes}
    return {size: lambda training=training: advance(training, steps) for size, training in deep.items()}


def dumps(sizes: tuple[int, ...] = (8, 16, 32, 64), **changes: Any) -> Works:
    """So many dumps of the tracker and the table of them, without the training."""
    run = cpu_preset(**changes)
    model = build(run, 0, torch.device("cpu"))
    optimizer = adamw(model, run)
    model.loss(*torch.zeros(2, 1, run.n_ctx, dtype=torch.int64)).backward()
    optimizer.step()

    def track(count: int) -> None:
        tracker = Tracker(model, model.matrices(), lambda step: True, optimizer, run.dumps.windows)
        for step in range(count):
            tracker.before_step(step)
            tracker.after_step(step)
        tracker.frame()

    return {size: lambda size=size: track(size) for size in sizes}


def cpu_preset(**changes: Any) -> Gpt2Run:
    """Preset cpu as params.yaml has it, long enough for all that is measured, without validation."""
    run = resolve(params.read(ROOT / "params.yaml"), "gpt2", "cpu")
    return run.model_copy(update={"steps": 10_000, "val_every": 10_000, **changes})


def pretraining(**changes: Any) -> Pretraining:
    """A run on random tokens, past its first steps."""
    training = on_random_tokens(cpu_preset(**changes))
    training.start()
    advance(training, 2)
    return training


def advance(training: Pretraining, steps: int) -> None:
    for _ in range(steps):
        training.advance()


def fitted(name: str, works: Works, rounds: int) -> Row:
    """The exponent of time in size: over rounds, in each of which every size is timed once."""
    seconds = np.array([[timed(work) for work in works.values()] for _ in range(rounds)])
    logs = np.log(list(works)), np.log(seconds)
    exponents = [float(np.polyfit(logs[0], each, 1)[0]) for each in logs[1]]
    middle = [float(f"{value:.4g}") for value in np.median(seconds, axis=0)]
    print(name, middle, file=sys.stderr)
    return {"bench": "growth", "shape": name, "peer": "ours", "unit": "exponent", **spread(exponents),
            "sizes": list(works), "seconds": middle}


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def rows(rounds: int = 3) -> list[Row]:
    return [fitted(works.__name__, works(), rounds) for works in (models, tokens, layers, dumps)]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
