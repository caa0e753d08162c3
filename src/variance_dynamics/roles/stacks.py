"""Tensors that hold one matrix of each expert: which axis of a matrix is its input."""

from collections.abc import Mapping
from dataclasses import dataclass

from variance_dynamics.weights.pieces import Shape

FUSED_IN = ("gate_up", "gate_up_interleaved")


@dataclass(frozen=True)
class Stacked:
    """Shapes [a, b] of the matrices that a module stacks, by tag, and the width of the model (0: unknown)."""

    shapes: Mapping[str, Shape]
    width: int

    @property
    def has_gate(self) -> bool:
        """Whether mlp_in has twice the inner width, so that it is gate and up together."""
        return self._by_pair("mlp_in") is not None

    def input_axis(self, tag: str) -> int | None:
        """0 for [in, out], 1 for [out, in], None where nothing says so. In a square matrix both are right."""
        first, last = self.shapes[tag]
        pairs = (self._by_pair(fused) for fused in FUSED_IN)
        by_pair = next((axis for axis in pairs if axis is not None), None)
        if by_pair is not None or first == last:
            return 1 if by_pair is None else by_pair
        if self.width not in (first, last):
            return None
        at = (first, last).index(self.width)
        return 1 - at if tag in ("mlp_out", "attn_out") else at

    def _by_pair(self, tag: str) -> int | None:
        """gate_up has twice the inner width that the matrix back has, and only one order fits that."""
        fused, back = self.shapes.get(tag), self.shapes.get("mlp_out")
        if not fused or not back:
            return None
        orders = [fused == (back[1], 2 * back[0]), fused == (2 * back[1], back[0])]
        return orders.index(True) if any(orders) else None
