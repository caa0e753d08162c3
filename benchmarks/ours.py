"""Our GPT-2 run as benchmarks time it: on random tokens, nothing due beside the steps; its tracker."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from study.gpt2.batches import Corpus
from study.gpt2.params import Gpt2Run
from study.gpt2.pretrain import Pretraining
from variance_dynamics.tracking.tracker import KINDS, Tracker

FAR = 100_000
CONTENTS = {"weights": ("weights",), "everything": KINDS}
SCHEDULES: dict[str, Callable[[int], bool]] = {"every step": lambda step: True,
                                               "one step in ten": lambda step: step % 10 == 0}
"""What is tracked, and when."""


def undisturbed(run: Gpt2Run, **changes: Any) -> Gpt2Run:
    """The run at a constant lr, without a dump or a validation before step FAR; `changes` come last."""
    dumps = run.dumps.model_copy(update={"every_step_until": 0, "per_decade": 0, "every": FAR,
                                         "histogram_dumps": 1})
    fixed = {"schedule": "constant", "warmup_steps": 0, "steps": FAR, "val_every": FAR, "dumps": dumps}
    return run.model_copy(update=fixed | changes)


def on_random_tokens(run: Gpt2Run) -> Pretraining:
    """The run before its first step, on tokens enough for a hundred batches."""
    each = (run.n_ctx + 1) * run.batch_size
    drawn = np.random.default_rng(0).integers(0, run.vocab_size, 100 * each).astype(np.uint16)
    return Pretraining(run, 0, Corpus(drawn, drawn[: 2 * run.val_batches * each], run.vocab_size, ""))


def watching(training: Pretraining, kinds: Iterable[str], schedule: Callable[[int], bool]) -> Tracker:
    """The run's tracker for some kinds, with the state that displacements are measured from; no records."""
    found = Tracker(training.model, training.model.matrices(), schedule, training.optimizer,
                    training.run.dumps.windows, tuple(kinds))
    found.after_step(0)
    found.records.clear()
    return found
