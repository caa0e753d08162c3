"""How long a part will take on this machine: a few steps of each shape of model, and how many there are."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch

from study.base import params
from study.base.labelled import Labelled
from study.data.classification import prepare
from study.data.params import ClassificationParams
from study.gpt2.batches import Corpus
from study.gpt2.params import Gpt2Run, resolve
from study.gpt2.pretrain import Pretraining, dump_steps
from study.mlp.ensemble import Dataset
from study.mlp.experiments import init_comparison_groups, mlp_sweep_groups
from study.mlp.grid import MlpGroup, Options, chunks, train
from study.mlp.params import InitComparisonParams, MlpSweepParams, TrainingPlan
from study.recording.parts import CORPUS, E1, E3, Part
from variance_dynamics.base.machine import all_cores

START = 5.0
"""Seconds to start a part: imports and data."""
CORPUS_SECONDS = 30.0
"""For the docstrings of the packages in params; other text may take longer, and it is done once."""
FEW = 4
"""Optimizer steps that are timed of a GPT-2."""


class Estimates:
    """Seconds of parts; what parts have in common is measured once."""

    def __init__(self) -> None:
        self.gpt2 = cache(gpt2_seconds)
        self.data: dict[str, tuple[Labelled, Dataset]] = {}

    def seconds(self, part: Part) -> float:
        """Predicted wall seconds of the whole part."""
        if part.stage == CORPUS:
            return START + CORPUS_SECONDS
        if part.stage == E3:
            run = resolve(part.tree, part.arguments[0])
            return START + self.gpt2(run.model_copy(update=PLAIN).model_dump_json())
        return START + self._grid(part)

    def _grid(self, part: Part) -> float:
        section = params.section(part.tree, "classification", ClassificationParams)
        total = 0.0
        for name in section.datasets:
            if name not in self.data:
                labels = labelled(name, section)
                self.data[name] = labels, Dataset(labels)
            groups, schedule, options = grid(part, name)
            total += sum(group_seconds(group, count, self.data[name][1], schedule, options)
                         for group, count in shapes(groups))
        return total


PLAIN = {"std": 0.02, "lr": 1e-3, "schedule": "cosine", "weight_decay": 0.1, "scheme": "gpt2"}
"""Knobs that change no duration: arms share one measurement."""


def labelled(name: str, section: ClassificationParams) -> Labelled:
    splits, classes = prepare(name, section)
    x, y = ({part: splits[f"{axis}_{part}"] for part in ("train", "val", "test")} for axis in "xy")
    return Labelled(x, y, classes)


def grid(part: Part, dataset: str) -> tuple[list[MlpGroup], TrainingPlan, Options]:
    """The groups of a part of E1 or E2, with schedule and optimizer options, as its stage makes them."""
    if part.stage == E1:
        sweep = params.section(part.tree, part.stage, MlpSweepParams)
        return mlp_sweep_groups(sweep, [dataset]), sweep.plan, sweep.optimizers.options()
    comparison = params.section(part.tree, part.stage, InitComparisonParams)
    return init_comparison_groups(comparison, [dataset]), comparison.plan, comparison.optimizers.options()


def shapes(groups: Iterable[MlpGroup]) -> list[tuple[MlpGroup, int]]:
    """One group of each shape and optimizer, with the number of seeds."""
    found: dict[tuple[object, ...], list[MlpGroup]] = {}
    for group in groups:
        found.setdefault((group.width, group.depth, group.optimizer), []).append(group)
    return [(same[0], len(same)) for same in found.values()]


def group_seconds(
    group: MlpGroup, count: int, data: Dataset, schedule: TrainingPlan, options: Options
) -> float:
    """`count` groups such as this: its first chunk, trained on every core at once for one and for two
    evaluations, so that what happens once a run is not taken for what happens each step."""
    cores = all_cores()
    parts = chunks(group, data)

    def timed(evaluations: int) -> float:
        steps = min(evaluations * schedule.eval_every, schedule.steps)
        short = TrainingPlan(steps, schedule.eval_every, schedule.eval_rows)
        with ThreadPoolExecutor(cores, initializer=_one_thread) as pool:
            started = time.perf_counter()
            work = [pool.submit(train, group, parts[0], data, short, options[group.optimizer])
                    for _ in range(cores)]
            for each in work:
                each.result()
            return time.perf_counter() - started

    once, twice = timed(1), timed(2)
    evaluations = schedule.steps / schedule.eval_every
    one = once + max(twice - once, 0.0) * max(evaluations - 1, 0.0)
    return one * count * len(group.models) / len(parts[0]) / cores


def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def gpt2_seconds(described: str) -> float:
    """One run of E3 (a Gpt2Run as JSON): plain steps, steps with a dump, and evaluations."""
    run = Gpt2Run.model_validate_json(described)
    tokens = np.random.default_rng(0).integers(0, run.vocab_size, 64 * run.batch_size * run.n_ctx, np.uint16)
    corpus = Corpus(tokens, tokens, run.vocab_size, "random")
    seldom = run.dumps.model_copy(update={"every_step_until": 0, "per_decade": 0, "every": run.steps,
                                          "histogram_dumps": 0})
    far = {"val_every": run.steps, "steps": max(run.steps, 10 * FEW)}
    plain = _step_seconds(Pretraining(run.model_copy(update=far | {"dumps": seldom}), 0, corpus))
    often = run.dumps.model_copy(update={"every_step_until": 2 * FEW})
    dumped = _step_seconds(Pretraining(run.model_copy(update=far | {"dumps": often}), 0, corpus))
    dumps = len(dump_steps(run))
    evaluations = (run.steps / run.val_every + 1) * run.val_batches / 3  # forward alone: a third of a step
    return plain * (run.steps - dumps + evaluations) + dumped * dumps


def _step_seconds(training: Pretraining) -> float:
    training.start()
    training.advance()
    return _timed(training.advance)


def _timed(advance: Callable[[], None]) -> float:
    started = time.perf_counter()
    for _ in range(FEW):
        advance()
    return (time.perf_counter() - started) / FEW
