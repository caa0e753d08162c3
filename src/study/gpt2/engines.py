"""How a batch's gradients are computed: by one process, or by several with PyTorch's DDP or FSDP2.

An engine reads micro batch `index` of `count` with `read(index)`, which gives (tokens, targets) on its
device, and in training the generator of dropout's masks. The batch and the mean over it do not depend on the
number of processes, but for the rounding of sums.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from study.gpt2.model import GPT2, Noise
from study.gpt2.params import Gpt2Run
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.machine import cores

Part = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Noise]
Read = Callable[[int], Part]
Loss = Callable[..., Tensor]


class Engine(Protocol):
    """What training needs from one process or from many."""

    measures: bool
    """Whether this process measures the weights: all do where each holds a part of every matrix."""
    writes: bool
    """Whether this process writes checkpoints and tables and shows the progress bar."""

    def gradients(self, read: Read, count: int) -> Tensor:
        """Set every weight's gradient: that of the mean loss over `count` micro batches. Gives the mean."""

    def mean_loss(self, read: Read, count: int) -> Tensor:
        """The mean loss over `count` micro batches, without gradients."""

    def agreed(self, step: int) -> int:
        """The first process's `step`, in every process."""


class Alone:
    """One process: micro batches run side by side on a CPU's cores, one after another on a GPU."""

    measures = writes = True

    def __init__(self, model: GPT2, run: Gpt2Run) -> None:
        self.weights = list(model.parameters())
        self.map = over_parts(run.batch_size // run.micro_batch_size, run.device)
        self.loss = loss_function(model, run)

    def gradients(self, read: Read, count: int) -> Tensor:
        """See Engine. On a CPU the sums do not depend on how many cores there are."""

        def part(index: int) -> tuple[Tensor, tuple[Tensor, ...]]:
            loss = self.loss(*read(index)) / count
            return loss.detach(), torch.autograd.grad(loss, self.weights)

        parts = self.map(part, range(count))
        total: Tensor
        total, sums = next(parts)
        for loss, gradients in parts:
            total += loss
            torch._foreach_add_(sums, gradients)
            del gradients  # or a GPU would hold a third set while it computes the next micro batch
        for weight, gradient in zip(self.weights, sums, strict=True):
            weight.grad = gradient
        return total

    def mean_loss(self, read: Read, count: int) -> Tensor:
        """See Engine."""

        @torch.no_grad()
        def part(index: int) -> Tensor:
            return self.loss(*read(index))

        return torch.stack(list(self.map(part, range(count)))).mean()

    def agreed(self, step: int) -> int:
        """See Engine: there is no other process."""
        return step


class Map(Protocol):
    """Like the built-in `map`: what `work` returns comes in the order of the parts, whichever ends first."""

    def __call__(self, work: Callable[[Any], Any], parts: Iterable[Any], /) -> Iterator[Any]: ...


def over_parts(parts: int, device: str) -> Map:
    """How to go over `parts` equal parts of a batch: on a CPU side by side, on a GPU one after another.

    On a CPU, torch's own threads are set to the number of cores for each part. One part per core is faster
    than splitting every operation over all cores, because nothing waits at a barrier after each of a step's
    thousand operations; and the sums do not depend on how many cores there are.
    """
    if device != "cpu":
        return map
    each = max(1, cores() // parts)
    torch.set_num_threads(each)
    if parts == 1 or cores() == 1:
        return map
    return ThreadPoolExecutor(min(parts, cores()), initializer=torch.set_num_threads, initargs=(each,)).map


class _Loss(nn.Module):
    """The loss as a module's forward, which is what DDP wraps."""

    def __init__(self, model: GPT2, run: Gpt2Run) -> None:
        super().__init__()
        self.model = model
        self.loss = loss_function(model, run)

    def forward(self, tokens: Tensor, targets: Tensor, noise: Noise = None) -> Tensor:
        return self.loss(tokens, targets, noise)


class Across:
    """One of several processes, each of which computes a part of every batch; joins the process group.

    Process r of n takes micro batches r, r + n, ... If n does not divide their number, the last round repeats
    one with weight 0, since every process must take part in every collective operation. Raises BadInput if a
    process would do nothing but repeat.
    """

    def __init__(self, model: GPT2, run: Gpt2Run) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.writes, self.sharded = self.rank == 0, run.sharding == "fsdp"
        self.measures = self.writes or self.sharded
        self.device = next(model.parameters()).device
        count = run.batch_size // run.micro_batch_size
        if self.size > count:
            expected = f"at most one for each micro batch, batch_size / micro_batch_size = {count}"
            raise BadInput(f"{self.size} processes: expected {expected}")
        if run.device == "cpu":
            torch.set_num_threads(cores())  # OMP_NUM_THREADS gives this process its part of the cores
        if self.sharded:
            shard(model, run)
            self.loss: Loss = in_precision(model.loss, run)
        else:
            self.loss = DistributedDataParallel(_Loss(model, run), gradient_as_bucket_view=True)

    def gradients(self, read: Read, count: int) -> Tensor:
        """See Engine. DDP and FSDP2 average gradients over processes; the factor `size` makes it a sum."""
        total = torch.zeros((), device=self.device)
        rounds = -(-count // self.size)
        for turn in range(rounds):
            with self._reducing(turn == rounds - 1):
                loss = self._part(read, turn, count)
                torch.autograd.backward(loss * self.size)
            total += loss.detach()
        dist.all_reduce(total)
        return total

    @torch.no_grad()
    def mean_loss(self, read: Read, count: int) -> Tensor:
        """See Engine."""
        total = torch.zeros((), device=self.device)
        for turn in range(-(-count // self.size)):
            total += self._part(read, turn, count)
        dist.all_reduce(total)
        return total

    def _part(self, read: Read, turn: int, count: int) -> Tensor:
        """What this process's micro batch of a round contributes to the mean loss."""
        index = self.rank + turn * self.size
        loss = self.loss(*read(min(index, count - 1))) / count
        return loss if index < count else loss * 0

    def _reducing(self, last: bool) -> AbstractContextManager[None]:
        """DDP reduces gradients once a batch; FSDP in every round, or each process would hold all of them."""
        if isinstance(self.loss, DistributedDataParallel) and not last:
            without: AbstractContextManager[None] = self.loss.no_sync()
            return without
        return nullcontext()

    def agreed(self, step: int) -> int:
        """See Engine."""
        of_first = torch.tensor(step, device=self.device)
        dist.broadcast(of_first, src=0)
        return int(of_first.item())


def loss_function(model: GPT2, run: Gpt2Run) -> Loss:
    """The model's loss of (tokens, targets) in the run's precision; compiled if the run asks for it.

    Dropout draws from a generator, which a compiled program cannot take: such a run is not compiled.
    """
    loss = in_precision(model.loss, run)
    if run.compile and run.dropout:
        print(f"gpt2: dropout is {run.dropout:g}, so this run is not compiled", file=sys.stderr)
    if not run.compile or run.dropout:
        return loss
    torch.compiler.reset()  # a process that trains several models would reach the limit of recompilations
    if run.device != "cpu":
        return torch.compile(loss, dynamic=False, fullgraph=True)
    # in C++ alone, so that threads do not wait for Python's lock; by parts, since the whole takes minutes
    model.compile_parts(dynamic=False, fullgraph=True, options={"cpp_wrapper": True})
    _compile_now(model, loss, run)
    return loss


def _compile_now(model: GPT2, loss: Loss, run: Gpt2Run) -> None:
    """Compile before threads start, since those that arrive at the same time would each compile."""
    tokens = torch.zeros(run.micro_batch_size, run.n_ctx, dtype=torch.long)
    torch.autograd.grad(loss(tokens, tokens), list(model.parameters()))
    with torch.no_grad():
        loss(tokens, tokens)


def in_precision(loss: Loss, run: Gpt2Run) -> Loss:
    """`loss` under the run's autocast."""
    device, bf16 = run.device, run.precision == "bf16"  # plain values: the compiler cannot read `run`

    def inner(tokens: Tensor, targets: Tensor, noise: Noise = None) -> Tensor:
        # without autocast's cache, which threads would share; a forward pass reads each weight once
        with torch.autocast(device, torch.bfloat16, enabled=bf16, cache_enabled=False):
            return loss(tokens, targets, noise)

    return inner


def shard(model: GPT2, run: Gpt2Run) -> None:
    """Make every parameter a DTensor over all processes (FSDP2), which gathers one block at a time."""
    mesh = init_device_mesh(run.device, (dist.get_world_size(),))
    for block in model.h:
        if run.compile and not run.dropout:
            block.compile(dynamic=False)
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for method in ("loss", "second_moments"):
        register_fsdp_forward_method(model, method)


def engine(model: GPT2, run: Gpt2Run) -> Engine:
    """The engine of a single process, or, if there is a process group, that of one of several."""
    return Across(model, run) if dist.is_initialized() else Alone(model, run)
