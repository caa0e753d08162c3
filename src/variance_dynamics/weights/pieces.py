"""A weight matrix as a piece of a stored tensor: which part of a fused or stacked tensor, and its fans."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from variance_dynamics.base.errors import BadInput
from variance_dynamics.weights.parameter import TABLES, Parameter

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """Rows start:stop of the output axis `axis`, in matrix `index` of a stack, or in the tensor if None.

    Where parts are interleaved, as heads are, the axis has `groups` equal parts, and the rows are those of
    each part. `axis` is counted in the matrix, without the stack's axis.
    """

    start: int
    stop: int
    axis: int = 0
    groups: int = 1
    index: int | None = None


@dataclass(frozen=True)
class Piece:
    """One weight matrix: all of the stored tensor named `tensor`, or a cut of it.

    `inputs` are the axes of `shape` that are summed over; the others are outputs. By default these are all
    but the last of a table and all but the first of another layer. `note` says why the role is unknown,
    where it is.
    """

    parameter: Parameter
    tensor: str
    shape: Shape
    cut: Cut | None = None
    note: str = ""
    inputs: tuple[int, ...] | None = None

    def of(self, tensor: Any) -> Any:
        """The matrix as a view of `tensor` (numpy or torch), so that writing to it writes to the tensor.

        Its shape is `self.shape`; where parts are interleaved their axis is two, [groups, rows of each].
        """
        cut = self.cut
        if cut is None:
            return tensor
        matrix = tensor if cut.index is None else tensor[cut.index]
        rows = slice(cut.start, cut.stop)
        if cut.groups > 1:
            shape = tuple(matrix.shape)
            matrix = matrix.reshape(*shape[: cut.axis], cut.groups, -1, *shape[cut.axis + 1 :])
            return matrix[:, :, rows] if cut.axis == 1 else matrix[:, rows]
        return matrix[:, rows] if cut.axis == 1 else matrix[rows]

    @property
    def input_axes(self) -> tuple[int, ...]:
        """The axes of `shape` that are inputs."""
        if self.inputs is not None:
            return self.inputs
        axes = tuple(range(len(self.shape)))
        return axes[:-1] if self.parameter.role in TABLES else axes[1:]

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns) of the matrix with inputs as rows: a convolution is [in * kernel, out]."""
        rows = math.prod(self.shape[axis] for axis in self.input_axes)
        return rows, math.prod(self.shape) // max(1, rows)

    def inputs_first(self, tensor: Any) -> Any:
        """As `of`, but with the axes of the inputs before those of the outputs.

        Values [rows, columns] of `size` are written by `view = piece.inputs_first(t)` and
        `view.copy_(values.reshape(view.shape))`.
        """
        view, order = self.of(tensor), self._order()
        return view.permute(order) if hasattr(view, "permute") else view.transpose(order)

    def _order(self) -> tuple[int, ...]:
        """Axes of the view that `of` gives, inputs first. An interleaved axis is two of them."""
        inputs = self.input_axes
        ordered = (*inputs, *(axis for axis in range(len(self.shape)) if axis not in inputs))
        if self.cut is None or self.cut.groups == 1:
            return ordered
        split = self.cut.axis
        places = {axis: (axis + (axis > split),) for axis in ordered} | {split: (split, split + 1)}
        return tuple(place for axis in ordered for place in places[axis])


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

    Tables are stored as [fan_in, fan_out], other layers as [out, in, *kernel], or [in, out, *kernel] if
    `transposed`. The size of a kernel multiplies both fans, as in torch.nn.init; of a grouped convolution
    `in` is that of one group.
    """
    if role in TABLES:
        return math.prod(shape[:-1]), shape[-1]
    kernel = math.prod(shape[2:])
    into, out = (shape[0], shape[1]) if transposed else (shape[1], shape[0])
    return into * kernel, out * kernel


Part = tuple[str, str, int]
"""A part of a fused tensor: its name, its role, and the number of its rows on the output axis."""


def cuts(parts: Sequence[Part], axis: int, groups: int = 1, index: int | None = None) -> list[Cut]:
    """The cut of each part, where it starts and stops; the rows of a part are those of all its groups."""
    stops = [sum(rows for _, _, rows in parts[: i + 1]) // groups for i in range(len(parts))]
    return [Cut(start, stop, axis, groups, index) for start, stop in zip([0, *stops], stops, strict=False)]
