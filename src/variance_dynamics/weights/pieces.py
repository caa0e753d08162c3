"""A weight matrix as a piece of a stored tensor: its rows in a fused tensor, and its fans."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from variance_dynamics.base.errors import BadInput
from variance_dynamics.weights.parameter import EMBEDDINGS, QKV, Parameter

Shape = tuple[int, ...]
FUSED = ("qkv", "qkv_per_head", "gate_up")
"""Roles of a tensor that holds several matrices.

qkv: all of q, then all of k, then all of v. qkv_per_head: q, k and v of the first head, then of the second.
gate_up: the gate of an MLP, then its up projection.
"""
HEADS = ("num_attention_heads", "n_head", "num_heads")
KEY_VALUE_HEADS = ("num_key_value_heads", "n_kv_head", "n_kv_heads", "num_kv_heads", "multi_query")
"""Names of the head counts in configs. multi_query is a flag, and true means one head."""


@dataclass(frozen=True)
class Cut:
    """Rows start:stop of the output axis `axis`.

    Where heads are interleaved the axis has `groups` equal parts, and the rows are those of each part.
    """

    start: int
    stop: int
    axis: int = 0
    groups: int = 1


@dataclass(frozen=True)
class Piece:
    """One weight matrix: all of the stored tensor named `tensor`, or a cut of it.

    `note` says why the role is unknown, where it is.
    """

    parameter: Parameter
    tensor: str
    shape: Shape
    cut: Cut | None = None
    note: str = ""

    def of(self, tensor: Any) -> Any:
        """The matrix as a view of `tensor` (numpy or torch), so that writing to it writes to the tensor.

        Its shape is `self.shape`; where heads are interleaved it is [heads, head_dim, fan_in].
        """
        if self.cut is None:
            return tensor
        rows = slice(self.cut.start, self.cut.stop)
        if self.cut.groups > 1:
            return tensor.reshape(self.cut.groups, -1, *tensor.shape[1:])[:, rows]
        return tensor[:, rows] if self.cut.axis == 1 else tensor[rows]


def as_pieces(matrices: Sequence[Parameter | Piece], shapes: Mapping[str, Shape]) -> list[Piece]:
    """Pieces as they are, and each parameter as a piece that is all of its tensor.

    `shapes` are those of a model's tensors. Raises BadInput for a matrix whose tensor is not among them, and
    for a parameter with other fans than its tensor.
    """
    for matrix in matrices:
        name = matrix.tensor if isinstance(matrix, Piece) else matrix.name
        if name not in shapes:
            raise BadInput(f"{name}: no such parameter: expected one of {', '.join(shapes)}")
    return [matrix if isinstance(matrix, Piece) else _whole(matrix, shapes[matrix.name])
            for matrix in matrices]


def _whole(parameter: Parameter, shape: Shape) -> Piece:
    expected = (parameter.fan_in, parameter.fan_out)
    if len(shape) < 2 or fans(shape, parameter.role) != expected:
        raise BadInput(f"{parameter.name}: shape is {shape}: expected one with fan_in and fan_out {expected}")
    return Piece(parameter, parameter.name, shape)


def fans(shape: Shape, role: str, transposed: bool = False) -> tuple[int, int]:
    """(fan_in, fan_out) of a tensor.

    Embeddings are stored as [fan_in, fan_out], other layers as [out, in, *kernel], or [in, out, *kernel] if
    `transposed`. The size of a kernel multiplies both fans, as in torch.nn.init.
    """
    if role in EMBEDDINGS and len(shape) <= 3:
        return math.prod(shape[:-1]), shape[-1]
    kernel = math.prod(shape[2:])
    into, out = (shape[0], shape[1]) if transposed else (shape[1], shape[0])
    return into * kernel, out * kernel


Part = tuple[str, str, int]
"""A part of a fused tensor: its name, its role, and the number of its rows on the output axis."""


def parts(fused: str, rows: int, count: Callable[..., int]) -> list[Part] | str:
    """The parts of a fused tensor's output axis; or a text that says what is missing to know them.

    `count(*keys)` gives a head count by the names that configs use for it, and 0 where there is none.
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
    """The cut of each part: where it starts and stops."""
    stops = [sum(rows for _, _, rows in divided[: i + 1]) // groups for i in range(len(divided))]
    return [Cut(start, stop, axis, groups) for start, stop in zip([0, *stops], stops, strict=False)]
