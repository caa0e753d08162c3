"""One run in several processes: torchrun starts them, and each joins a process group."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from study.gpt2.params import check_gpus
from variance_dynamics.base.machine import cores


def started_by_torchrun() -> bool:
    """Whether this process is one of several (or the only one) that torchrun started."""
    return dist.is_torchelastic_launched()


def launch(count: int, device: str, module: str, arguments: list[str]) -> None:
    """Run `module` in `count` processes on this machine by torchrun; returns when all have ended.

    Raises BadInput for more processes than GPUs, and SystemExit with one line if a process fails.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    check_gpus(device, count)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // count)))
    try:
        torchrun(["--standalone", f"--nproc-per-node={count}", "-m", module, *arguments])
    except ChildFailedError as problem:
        rank, failure = problem.get_first_failure()
        raise SystemExit(f"error: process {rank} of {count} ended with {failure.exitcode}: all are stopped; "
                         "the next run continues from the last checkpoint") from None
    except SignalException as problem:
        print(f"error: stopped by {problem.sigval.name}", file=sys.stderr)
        raise SystemExit(128 + problem.sigval) from None


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the process group of torchrun's processes: over NCCL on GPUs, over gloo on CPUs."""
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()
