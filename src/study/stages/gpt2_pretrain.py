"""E3, one arm and seed: `python -m study.stages.gpt2_pretrain ARM SEED`."""

import os
import sys
from pathlib import Path

from study.base import checkpoint_folder, guard, params, runs
from study.gpt2 import processes
from study.gpt2 import tables as pretrain_tables
from study.gpt2.batches import open_corpus
from study.gpt2.params import EXECUTION, Gpt2Run, resolve
from study.gpt2.pretrain import pretrain
from variance_dynamics.base.errors import BadInput, one_line

CORPUS = Path("data/corpus")
OUT = Path("data/gpt2")
MODULE = "study.stages.gpt2_pretrain"
"""The name of this module, also where it runs as __main__."""


@one_line
def main() -> None:
    arm, seed = item(sys.argv[1:], os.environ.get("DVC_STAGE", ""))
    run = resolve(params.read(), arm)
    guard.end_with_dvc()
    if processes.started_by_torchrun():
        with processes.joined(run.device):
            train(run, arm, seed)
    elif run.processes > 1:
        processes.launch(run.processes, run.device, MODULE, sys.argv[1:])
    else:
        train(run, arm, seed)


def train(run: Gpt2Run, arm: str, seed: int) -> None:
    """Train from the last checkpoint to the end and write the tables; each of several processes runs this."""
    out, knobs = OUT / f"{arm}-{seed}", knobs_of(arm)
    corpus = open_corpus(CORPUS, run.vocab_size, run.n_ctx)  # before threads start: they hang without memory
    with runs.noted(f"gpt2_pretrain@{out.name}", out, knobs), guard.unchanged(out, knobs, [CORPUS]):
        training = pretrain(run, arm, seed, corpus)
        pretrain_tables.write(out, arm, training)
    if training.engine.writes:
        checkpoint_folder.finish(training.checkpoints, out)


def knobs_of(arm: str) -> params.Knobs:
    """Reads the values in params.yaml that decide the result of a run of this arm."""
    return lambda: {"gpt2": resolve(params.read(), arm).model_dump(exclude=EXECUTION)}


def item(arguments: list[str], stage: str) -> tuple[str, int]:
    """Arm and seed: the arguments, or else from the stage's name, as DVC gives it in $DVC_STAGE.

    DVC writes no name of params.yaml into the command, where a shell would read it.
    """
    arm, _, seed = stage.partition("@")[2].rpartition("-")
    arm, seed = arguments if len(arguments) == 2 else (arm, seed)
    if len(arguments) not in (0, 2) or not params.NAME.fullmatch(arm) or not seed.isdecimal():
        raise BadInput(f"arguments are {' '.join(arguments)!r}: expected ARM and SEED, a whole number")
    return arm, int(seed)


if __name__ == "__main__":
    main()
