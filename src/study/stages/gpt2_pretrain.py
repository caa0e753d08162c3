"""E3, one arm and seed: `python -m study.stages.gpt2_pretrain ARM SEED`."""

import sys
from pathlib import Path

from study.base import checkpoint, params, runs
from study.gpt2 import processes
from study.gpt2 import tables as pretrain_tables
from study.gpt2.batches import open_corpus
from study.gpt2.params import Gpt2Run, resolve
from study.gpt2.pretrain import pretrain
from variance_dynamics.base.errors import BadInput, one_line

CORPUS = Path("data/corpus")
OUT = Path("data/gpt2")
MODULE = "study.stages.gpt2_pretrain"
"""The name of this module, also where it runs as __main__."""


@one_line
def main() -> None:
    arm, seed = arguments(sys.argv[1:])
    run = resolve(params.read(), arm)
    if processes.started_by_torchrun():
        with processes.joined(run.device):
            train(run, arm, seed)
    elif run.processes > 1:
        processes.launch(run.processes, run.device, MODULE, sys.argv[1:])
    else:
        train(run, arm, seed)


def train(run: Gpt2Run, arm: str, seed: int) -> None:
    """Train from the last checkpoint to the end and write the tables; each of several processes runs this."""
    corpus = open_corpus(CORPUS, run.vocab_size, run.n_ctx)
    with runs.noted(f"gpt2_pretrain@{arm}-{seed}", OUT / f"{arm}-{seed}"):
        training = pretrain(run, arm, seed, corpus)
        pretrain_tables.write(OUT / f"{arm}-{seed}", arm, training)
    if training.engine.writes:
        checkpoint.remove(training.checkpoints)


def arguments(given: list[str]) -> tuple[str, int]:
    if len(given) != 2 or not given[1].isdecimal():
        raise BadInput(f"arguments are {' '.join(given)!r}: expected ARM and SEED, a whole number")
    return given[0], int(given[1])


if __name__ == "__main__":
    main()
