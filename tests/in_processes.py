"""`python tests/in_processes.py JOBS.json`: tiny trainings one after another, alone or as torchrun's process.

A job has "out" and "corpus"; it may have "changes" of the run, "seconds" (a time limit), "elsewhere" (all but
the first process look for checkpoints in another folder) and "dies" (the last process ends without a word at
this step, once).
"""

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import torch

from tiny_gpt2 import VOCAB, tiny_run
from variance_dynamics.training import checkpoint, pretrain_tables, processes
from variance_dynamics.training.batches import open_corpus
from variance_dynamics.training.pretrain import Pretraining, pretrain


def main() -> None:
    torch.set_num_threads(1)
    with processes.joined("cpu") if processes.started_by_torchrun() else nullcontext():
        for job in json.loads(Path(sys.argv[1]).read_text()):
            work(job)


def work(job: dict) -> None:
    if "dies" in job:
        arm_death(job["dies"], Path(job["out"] + ".died"))
    if job.get("elsewhere") and int(os.environ["RANK"]):
        os.environ["DVC_ROOT"] += "/elsewhere"
    run = tiny_run(micro_batch_size=2, **job.get("changes", {}))
    training = pretrain(run, "gpt2", 0, open_corpus(Path(job["corpus"]), VOCAB, 16), job.get("seconds"))
    if training is not None:
        pretrain_tables.write(Path(job["out"]), "gpt2", training)
        if training.engine.writes:
            checkpoint.remove(training.checkpoints)


def arm_death(step: int, mark: Path) -> None:
    advance = Pretraining.advance

    def fatal(training: Pretraining) -> None:
        last = int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1
        if training.step == step and last and not mark.exists():
            mark.touch()
            os._exit(9)
        advance(training)

    Pretraining.advance = fatal


if __name__ == "__main__":
    main()
