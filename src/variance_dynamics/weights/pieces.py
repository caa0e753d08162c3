"""One weight matrix as a piece of a stored tensor: which rows of a fused one, and what its fans are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from variance_dynamics.weights.parameter import EMBEDDINGS, QKV, Parameter

Shape = tuple[int, ...]
FUSED = ("qkv", "qkv_per_head", "gate_up")
"""Several matrices in one tensor: q, k, v one after the other; each head its own; gate and up of an MLP."""
HEADS = ("num_attention_heads", "n_head", "num_heads")
KEY_VALUE_HEADS = ("num_key_value_heads", "n_kv_head", "n_kv_heads", "num_kv_heads", "multi_query")
"""What configs call the head counts; multi_query is a flag, and true is one head."""


@dataclass(frozen=True)
class Cut:
    """Rows start:stop of the output axis; of each of `groups` equal parts where heads are interleaved."""

    start: int
    stop: int
    axis: int = 0
    groups: int = 1


@dataclass(frozen=True)
class Piece:
    """One weight matrix, the whole of tensor `tensor` or a cut of it; `note` says why a role is unknown."""

    parameter: Parameter
    tensor: str
    shape: Shape
    cut: Cut | None = None
    note: str = ""

    def of(self, tensor: Any) -> Any:
        """The matrix as a view of `tensor` (numpy or torch): writing to it writes to the tensor.

        Has the shape `self.shape`, but interleaved heads stay apart: [heads, head_dim, fan_in].
        """
        if self.cut is None:
            return tensor
        rows = slice(self.cut.start, self.cut.stop)
        if self.cut.groups > 1:
            return tensor.reshape(self.cut.groups, -1, *tensor.shape[1:])[:, rows]
        return tensor[:, rows] if self.cut.axis == 1 else tensor[rows]


def fans(shape: Shape, role: str, transposed: bool = False) -> tuple[int, int]:
    """(fan_in, fan_out): embeddings lie as [fan_in, fan_out], Linear and convolutions as [out, in, *kernel].

    A kernel's size multiplies both fans, as in torch.nn.init.
    """
    if role in EMBEDDINGS and len(shape) <= 3:
        return _product(shape[:-1]), shape[-1]
    kernel = _product(shape[2:])
    into, out = (shape[0], shape[1]) if transposed else (shape[1], shape[0])
    return into * kernel, out * kernel


def _product(sizes: Shape) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


Part = tuple[str, str, int]
"""A part of a fused tensor: its name, its role, and its rows of the output axis."""


def parts(fused: str, rows: int, count: Callable[..., int]) -> list[Part] | str:
    """How the output axis of a fused tensor divides, or what is missing to know it.

    `count(*keys)` looks a head count up under the names that configs use, 0 where there is none.
    """
    if fused == "gate_up":
        return [(part, "mlp_in", rows // 2) for part in ("gate", "up")]
    heads = count(*HEADS)
    groups = count(*KEY_VALUE_HEADS) or heads
    thirds = not heads or groups == heads
    if fused == "qkv_per_head" and (not heads or rows % (3 * heads) or not thirds):
        return f"{rows} rows interleaved per head: expected the number of heads, and as many keys and values"
    if thirds:
        return f"{rows} rows: expected head counts" if rows % 3 else [(role, role, rows // 3) for role in QKV]
    size, left = divmod(rows, heads + 2 * groups)
    if left:
        return f"{rows} rows: expected a multiple of {heads} query and twice {groups} key-value heads"
    return [("q", "q", heads * size), ("k", "k", groups * size), ("v", "v", groups * size)]


def cuts(divided: list[Part], axis: int, groups: int) -> list[Cut]:
    """Where each part starts and stops."""
    stops = [sum(rows for _, _, rows in divided[: i + 1]) // groups for i in range(len(divided))]
    return [Cut(start, stop, axis, groups) for start, stop in zip([0, *stops], stops, strict=False)]
