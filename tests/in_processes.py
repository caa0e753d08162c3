"""`python tests/in_processes.py JOBS.json`: tiny trainings one after another, alone or as torchrun's process.

A job has "out" and "corpus"; it may have "changes" of the run, "stops" (all processes end after this step),
"elsewhere" (all but the first process look for checkpoints in another folder) and "dies" (the last process
ends without a word at this step, once). Beside "out" each process writes which rows of which batch it read,
and any tables that it should not write.
"""

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import torch

from study.base import checkpoint, checkpoint_folder
from study.gpt2 import processes
from study.gpt2 import tables as pretrain_tables
from study.gpt2.batches import Batches, Contexts, Corpus, open_corpus
from study.gpt2.params import Gpt2Run
from study.gpt2.pretrain import Pretraining, pretrain
from tiny_gpt2 import VOCAB, tiny_run

READ: list[list[int]] = []
"""Step and rows of each read."""
RANK = os.environ.get("RANK", "0")


def main() -> None:
    note_reads()
    torch.set_num_threads(1)
    with processes.joined("cpu") if processes.started_by_torchrun() else nullcontext():
        for job in json.loads(Path(sys.argv[1]).read_text()):
            work(job)


def work(job: dict) -> None:
    if "dies" in job:
        arm_death(job["dies"], Path(job["out"] + ".died"))
    if job.get("elsewhere") and int(RANK):
        os.environ["DVC_ROOT"] += "/elsewhere"
    READ.clear()
    run = tiny_run(micro_batch_size=2, **job.get("changes", {}))
    corpus = open_corpus(Path(job["corpus"]), VOCAB, 16)
    if "stops" in job:
        stopped(run, corpus, job["stops"])
        return
    training = pretrain(run, "gpt2", 0, corpus)
    Path(f"{job['out']}.read-{RANK}.json").write_text(json.dumps(READ))
    out = job["out"] if training.engine.writes else f"{job['out']}.tables-{RANK}"
    pretrain_tables.write(Path(out), "gpt2", training)
    if training.engine.writes:
        checkpoint_folder.remove(training.checkpoints)


def stopped(run: Gpt2Run, corpus: Corpus, step: int) -> None:
    """Train from the last checkpoint until so many updates are done, and leave a checkpoint."""
    training = Pretraining(run, 0, corpus)
    saved = checkpoint.latest(training.checkpoints)
    training.start() if saved is None else training.load_state_dict(saved)
    while training.step < step:
        training.advance()
    training.save()


def note_reads() -> None:
    read = Batches.__call__

    def noted(batches: Batches, step: int, rows: range) -> Contexts:
        READ.append([step, *rows])
        return read(batches, step, rows)

    Batches.__call__ = noted


def arm_death(step: int, mark: Path) -> None:
    advance = Pretraining.advance

    def fatal(training: Pretraining) -> None:
        last = int(RANK) == int(os.environ["WORLD_SIZE"]) - 1
        if training.step == step and last and not mark.exists():
            mark.touch()
            os._exit(9)
        advance(training)

    Pretraining.advance = fatal


if __name__ == "__main__":
    main()
