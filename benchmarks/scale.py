"""What tracking costs past one machine, on paper: `python benchmarks/scale.py` writes docs/scale.md's tables.

Sizes come from models on the meta device; what a dump reads, writes and sends per parameter and matrix is
counted in a real dump of a small model; the machine's rates are the assumptions named below.
"""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pages import with_table
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from study.gpt2.model import GPT2, LOGITS_AT_ONCE, Block, Shape
from study.gpt2.sharding import ShardedTracker
from variance_dynamics.tracking import schedule, sharded

SHAPES = {"124M": Shape(12, 12, 768, 1024, 50257), "1.5B": Shape(48, 25, 1600, 1024, 50257),
          "7B": Shape(32, 32, 4096, 2048, 50257), "70B": Shape(80, 64, 8192, 4096, 50257)}
"""GPT-2's smallest and largest, and two of its form at the sizes of today's models."""
GPUS = (1, 8, 64, 1024)
PEAK, USED, BANDWIDTH = 989e12, 0.4, 3.35e12
"""Of an H100: dense bf16 FLOP/s, the share of it assumed in training, its memory's bytes/s (data sheet)."""
LATENCY = 50e-6
"""Seconds of a small all-reduce between GPUs: assumed."""
WINDOWS = (10, 100)
STATE = 16
"""Bytes per parameter of weights, gradients and AdamW's two moments in fp32."""
TRACKER = 4 * (2 + len(WINDOWS))
"""Bytes per parameter of the tracker's copies: the initial state, each window's, one at an update."""
CHUNK = 2 + 4 + 4 + 2
"""Bytes per logit of a chunk: the product in bf16 and in fp32, the softmax, its gradient in bf16."""
PAGE = Path(__file__).resolve().parent.parent / "docs" / "scale.md"
Row = dict[str, Any]


def parameters(shape: Shape) -> tuple[int, int, int]:
    """Parameters, the weight matrices among them that are tracked, and how many shapes those have."""
    with torch.device("meta"):
        model = GPT2(shape)
    matrices = [model.get_parameter(matrix.name) for matrix in model.matrices()]
    return (sum(weight.numel() for weight in model.parameters()), len(matrices),
            len({weight.shape for weight in matrices}))


def activations(shape: Shape) -> float:
    """Bytes per token that a block keeps for its backward pass in bf16, weights aside: eager, on a CPU."""
    block = Block(shape)
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # alive, so that no other takes its place
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16):
        block(torch.randn(1, shape.n_ctx, shape.n_embd, requires_grad=True))
    sizes = {weight.numel() for weight in block.parameters()}  # theirs, and of their copies in bf16
    found = [each.untyped_storage().nbytes() for each in kept.values() if each.numel() not in sizes]
    return sum(found) / shape.n_ctx


class Traffic(TorchDispatchMode):
    """Bytes that operations read and write, views aside."""

    moved = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if not any(result.alias_info for result in function._schema.returns) or "out" in str(function):
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
            self.moved += sum(leaf.numel() * leaf.element_size() for leaf in tensors)
        return out


def counted() -> tuple[float, int]:
    """Bytes that a dump moves through memory per tracked parameter, and its all-reduces, by counting them."""
    with tempfile.TemporaryDirectory() as folder:
        store = dist.FileStore(str(Path(folder) / "store"), 1)
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
        try:
            return _counted(*_small())
        finally:
            dist.destroy_process_group()


def _small() -> tuple[GPT2, torch.optim.Optimizer]:
    model = GPT2(Shape(2, 2, 64, 32, 256))
    fully_shard(model)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    return model, torch.optim.AdamW(model.parameters())


def _counted(model: GPT2, optimizer: torch.optim.Optimizer) -> tuple[float, int]:
    tracker = ShardedTracker(model, model.matrices(), schedule.at([0, 1]), optimizer, WINDOWS)
    tracker.after_step(0)
    sent: list[int] = []
    real = sharded.all_reduce

    def counting(values: Tensor, *rest: Any) -> None:
        sent.append(values.numel())
        real(values, *rest)

    sharded.all_reduce = counting
    with Traffic() as before:
        tracker.before_step(1)
    optimizer.step()
    with Traffic() as after:
        tracker.after_step(1)
    sharded.all_reduce = real
    tracked = sum(math.prod(piece.shape) for group in tracker.groups for piece in group.pieces)
    return (before.moved + after.moved) / tracked, round(sum(sent) / len(model.matrices()))


def sizes(reductions: int) -> Iterator[Row]:
    """What does not depend on the number of GPUs."""
    stats = len(tracker_stats())
    for name, shape in SHAPES.items():
        count, matrices, _ = parameters(shape)
        yield {"model": name, "parameters": f"{count / 1e9:.3g} B", "matrices": matrices,
               "values a dump": matrices * stats, "kB a dump": f"{matrices * stats * 8 / 1e3:.1f}",
               "kB sent a dump and GPU": f"{matrices * reductions * 4 / 1e3:.1f}",
               "GB if gathered": f"{count * 4 / 1e9:.3g}"}


def tracker_stats() -> list[str]:
    """Names of what an ordinary dump measures of each matrix (no window ends at it)."""
    weights = ("std", "mean", "rms", "absmax", "kurtosis")
    return [*weights, "update_rms", "grad_norm", "grad_kurtosis", "epsilon_share",
            "delta_ms_init", "delta_dot_init"]


def costs(traffic: float, reductions: int) -> Iterator[Row]:
    """Tokens per second, and what a dump takes, for each model and number of GPUs that holds it."""
    for name, shape in SHAPES.items():
        count, _, groups = parameters(shape)  # of one shape: stacked, measured and reduced together
        flops = 6 * count + 12 * shape.n_layer * shape.n_embd * shape.n_ctx
        kept = STATE + TRACKER
        for gpus in GPUS:
            if count * kept / gpus > 70e9:
                continue
            speed = PEAK * USED * gpus / flops
            dump = traffic * count / gpus / BANDWIDTH + (gpus > 1) * groups * reductions * LATENCY
            step = 0.5e6 / speed
            yield {"model": name, "GPUs": gpus, "tokens/s": f"{speed:.2g}",
                   "GB/GPU of tracking": f"{TRACKER * count / gpus / 1e9:.2g}",
                   "ms a dump": f"{1e3 * dump:.3g}", "step of 0.5M tokens, s": f"{step:.2g}",
                   "a dump each 10 steps costs": f"{dump / step / 10:.2%}"}


def memory(shape: Shape, contexts: int = 32) -> str:
    """What one GPU would hold with micro batches of so many contexts, in words."""
    count, _, _ = parameters(shape)
    each = activations(shape)
    counted = f"{each / 1e3:.1f} kB a token and layer, counted eager on a CPU"
    parts = {"for weights, gradients and AdamW's moments": STATE * count,
             "for the tracker with two windows": TRACKER * count,
             f"of activations for the backward pass ({counted})":
                 shape.n_layer * each * contexts * shape.n_ctx,
             "for a chunk of logits while it lasts": CHUNK * LOGITS_AT_ONCE["cuda"]}
    told = ", ".join(f"{size / 1e9:.1f} {name}" for name, size in parts.items())
    return (f"124M with micro batches of {contexts} contexts, in GB: {told}; "
            f"{sum(parts.values()) / 1e9:.0f} in all.")


def table(rows: list[Row]) -> str:
    """Markdown."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(row[name]) for name in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def told() -> str:
    """What docs/scale.md shows."""
    traffic, reductions = counted()
    return "\n\n".join([
        f"Counted in a dump of a small model: {traffic:.0f} bytes moved through memory per parameter, and "
        f"{reductions} values sent per matrix and GPU.", memory(SHAPES["124M"]),
        table(list(sizes(reductions))), table(list(costs(traffic, reductions)))])


def written(page: Path) -> str:
    """The page with its tables between the marks replaced by what `told` gives."""
    return with_table(page.read_text(encoding="utf-8"), "scale", told())


if __name__ == "__main__":
    PAGE.write_text(written(PAGE), encoding="utf-8")
