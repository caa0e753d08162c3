"""How a batch's gradients are made: by one process, or by several with PyTorch's DDP or FSDP2.

An engine reads micro batch `index` of `count` by `read(index)`, which gives (tokens, targets) on its device.
Whatever the number of processes, the batch and the mean over it are the same, to the rounding of sums.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from study.gpt2.model import GPT2
from study.gpt2.params import Gpt2Run
from study.gpt2.side_by_side import over_parts
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.machine import cores

Read = Callable[[int], tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


class Engine(Protocol):
    """What training asks of one process or of many."""

    measures: bool
    """Whether this process measures the weights: all must where each holds a part of every matrix."""
    writes: bool
    """Whether this process keeps checkpoints, tables and the progress bar."""

    def gradients(self, read: Read, count: int) -> Tensor:
        """Set every weight's gradient, of the mean over `count` micro batches; gives that mean, a scalar."""

    def mean_loss(self, read: Read, count: int) -> Tensor:
        """The mean loss over `count` micro batches, without gradients."""

    def agreed(self, choice: float) -> float:
        """The first process's `choice`, in every process."""


class Alone:
    """One process: micro batches side by side on a CPU's cores, one after another on a GPU."""

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

        results = self.map(part, range(count))
        total: Tensor
        total, sums = next(results)
        for loss, gradients in results:
            total += loss
            torch._foreach_add_(sums, gradients)
            del gradients  # on a GPU no third set is held while the next micro batch is computed
        for weight, gradient in zip(self.weights, sums, strict=True):
            weight.grad = gradient
        return total

    def mean_loss(self, read: Read, count: int) -> Tensor:
        """See Engine."""

        @torch.no_grad()
        def part(index: int) -> Tensor:
            return self.loss(*read(index))

        return torch.stack(list(self.map(part, range(count)))).mean()

    def agreed(self, choice: float) -> float:
        """Nobody else is asked."""
        return choice


class _Loss(nn.Module):
    """The loss as a module's forward, which is what DDP wraps."""

    def __init__(self, model: GPT2, run: Gpt2Run) -> None:
        super().__init__()
        self.model = model
        self.loss = loss_function(model, run)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        return self.loss(tokens, targets)


class Across:
    """This process's share of a batch, one of `dist.get_world_size()`; the process group is there already.

    Process r of n takes micro batches r, r + n, ... Where they do not come out even, the last round repeats
    one with weight 0, since every process must take part in every collective. Raises BadInput where a process
    would have nothing else to do.
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
            torch.set_num_threads(cores())  # the launcher has set OMP_NUM_THREADS to this process's share
        if self.sharded:
            shard(model, run)
            self.loss: Loss = in_precision(model.loss, run)
        else:
            self.loss = DistributedDataParallel(_Loss(model, run), gradient_as_bucket_view=True)

    def gradients(self, read: Read, count: int) -> Tensor:
        """See Engine: gradients are averaged over processes, hence the factor of their number."""
        total = torch.zeros((), device=self.device)
        rounds = -(-count // self.size)
        for turn in range(rounds):
            with self._reducing(turn == rounds - 1):
                loss = self._share(read, turn, count)
                torch.autograd.backward(loss * self.size)
            total += loss.detach()
        dist.all_reduce(total)
        return total

    @torch.no_grad()
    def mean_loss(self, read: Read, count: int) -> Tensor:
        """See Engine."""
        total = torch.zeros((), device=self.device)
        for turn in range(-(-count // self.size)):
            total += self._share(read, turn, count)
        dist.all_reduce(total)
        return total

    def _share(self, read: Read, turn: int, count: int) -> Tensor:
        """What this process's micro batch of a round adds to the mean loss."""
        index = self.rank + turn * self.size
        loss = self.loss(*read(min(index, count - 1))) / count
        return loss if index < count else loss * 0

    def _reducing(self, last: bool) -> AbstractContextManager[None]:
        """Under DDP gradients travel once a batch; under FSDP each time, or every process would hold all."""
        if isinstance(self.loss, DistributedDataParallel) and not last:
            held: AbstractContextManager[None] = self.loss.no_sync()
            return held
        return nullcontext()

    def agreed(self, choice: float) -> float:
        """See Engine."""
        told = torch.tensor(choice, dtype=torch.float64, device=self.device)
        dist.broadcast(told, src=0)
        return told.item()


def loss_function(model: GPT2, run: Gpt2Run) -> Loss:
    """The model's loss of (tokens, targets) in the run's precision, compiled if it says so."""
    loss = in_precision(model.loss, run)
    if not run.compile:
        return loss
    torch.compiler.reset()  # a process that trains several models would reach the limit of recompilations
    if run.device != "cpu":
        return torch.compile(loss, dynamic=False, fullgraph=True)
    # all in C++, or threads would wait for Python's lock; and by parts, or compiling takes minutes
    model.compile_parts(dynamic=False, fullgraph=True, options={"cpp_wrapper": True})
    _compile_now(model, loss, run)
    return loss


def _compile_now(model: GPT2, loss: Loss, run: Gpt2Run) -> None:
    """Threads that came to it at the same time would each compile."""
    tokens = torch.zeros(run.micro_batch_size, run.n_ctx, dtype=torch.long)
    torch.autograd.grad(loss(tokens, tokens), list(model.parameters()))
    with torch.no_grad():
        loss(tokens, tokens)


def in_precision(loss: Loss, run: Gpt2Run) -> Loss:
    """`loss` under the run's autocast."""
    device, bf16 = run.device, run.precision == "bf16"  # plain values, for a compiler to see no params

    def inner(tokens: Tensor, targets: Tensor) -> Tensor:
        # without its cache, which threads would share; no weight is read twice by one forward pass
        with torch.autocast(device, torch.bfloat16, enabled=bf16, cache_enabled=False):
            return loss(tokens, targets)

    return inner


def shard(model: GPT2, run: Gpt2Run) -> None:
    """Make every parameter a DTensor over all processes (FSDP2), gathered a block at a time."""
    mesh = init_device_mesh(run.device, (dist.get_world_size(),))
    for block in model.h:
        if run.compile:
            block.compile(dynamic=False)
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for method in ("loss", "second_moments"):
        register_fsdp_forward_method(model, method)


def engine(model: GPT2, run: Gpt2Run) -> Engine:
    """One process's engine, or that of one of several where a process group is there."""
    return Across(model, run) if dist.is_initialized() else Alone(model, run)
