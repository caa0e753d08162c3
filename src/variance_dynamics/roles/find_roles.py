"""What each parameter of any network is for: from its name and shape, and the model's config if there is one.

Needs no torch, so that it serves a checkpoint's header as well as a live module. A name that no pattern
matches gets the role "unknown" and a note; nothing is guessed. Fused tensors are divided into q, k and v.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from variance_dynamics.base.errors import BadInput
from variance_dynamics.roles.patterns import (
    ATTENTION,
    BUFFERS,
    CONV1D,
    MLP,
    OUTSIDE,
    RECURRENT,
    WRAPPERS,
    Table,
)
from variance_dynamics.weights.parameter import BLOCK, DENSE, EMBEDDINGS, QKV, Parameter
from variance_dynamics.weights.pieces import FUSED, HEADS, Cut, Piece, Shape, cuts, fans, parts

UNKNOWN = "unknown"
SETTABLE = (*BLOCK, *EMBEDDINGS, *DENSE, *FUSED, "ignore")
"""Roles that a user's own pattern may give."""
FUSED_QKV = ("qkv", "qkv_per_head")


@dataclass(frozen=True)
class NetworkRoles:
    """The roles of a network's parameters: a piece for every weight matrix, and the names of the vectors.

    Pieces are in the order of the names given; vectors are biases and the weights of norms.
    """

    pieces: tuple[Piece, ...]
    vectors: tuple[str, ...]

    @property
    def unknown(self) -> tuple[Piece, ...]:
        """Matrices whose name no pattern matches."""
        return tuple(piece for piece in self.pieces if piece.parameter.role == UNKNOWN)


def find_roles(shapes: Mapping[str, Shape], config: Mapping[str, Any] | None = None,
               patterns: Mapping[str, str] | None = None, types: Mapping[str, str] | None = None
               ) -> NetworkRoles:
    """Roles of all parameters of `shapes`, a mapping of their names to their shapes.

    In a network without attention the names must come in the order of the forward pass. `config` is a Hugging
    Face config (for head counts). `patterns` maps a user's own regular expressions, searched in the full
    name, to roles; they come before all others. `types` maps a parameter to its module's class name. Raises
    BadInput for a pattern that is no regular expression, or a role that does not exist.

    >>> shapes = {"h.0.attn.c_attn.weight": (8, 24), "h.0.mlp.c_fc.weight": (8, 32), "ln_f.bias": (8,)}
    >>> [(p.parameter.role, p.parameter.fan_in, p.parameter.fan_out) for p in find_roles(shapes).pieces]
    [('q', 8, 8), ('k', 8, 8), ('v', 8, 8), ('mlp_in', 8, 32)]
    """
    network = _Network(shapes, config or {}, _compiled(patterns or {}), types or {})
    pieces = [piece for name in network.matrices for piece in network.pieces(name)]
    return NetworkRoles(tuple(pieces), tuple(name for name in network.kept if name not in network.roles))


def clean(name: str) -> str:
    """The name without the parts that wrappers (DDP, FSDP, torch.compile) insert."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _compiled(patterns: Mapping[str, str]) -> Table:
    compiled = []
    for pattern, role in patterns.items():
        if role not in SETTABLE:
            raise BadInput(f"pattern {pattern!r}: role is {role!r}: expected one of {', '.join(SETTABLE)}")
        try:
            compiled.append((role, re.compile(pattern)))
        except re.error as problem:
            raise BadInput(f"pattern {pattern!r}: {problem}: expected a regular expression") from None
    return tuple(compiled)


def _match(text: str, table: Table) -> str:
    return next((role for role, pattern in table if pattern.search(text)), "")


def _is_matrix(name: str, shape: Shape) -> bool:
    """Two dimensions or more. With a single size above 1 only a layer's weight or a token is a matrix."""
    if len(shape) < 2:
        return False
    return sum(size > 1 for size in shape) > 1 or name.endswith(("weight", "token")) or "embed" in name


def _is_buffer(name: str, shape: Shape) -> bool:
    mask = len(shape) == 4 and name.endswith(("attn.bias", "attention.bias"))
    return mask or bool(BUFFERS.search(name))


def _numbered(name: str) -> tuple[str, int]:
    """The part before the first number, and that number: model.layers.3.mlp -> (model.layers, 3)."""
    parts = name.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return ("", -1) if at is None else (".".join(parts[:at]), int(parts[at]))


@dataclass(frozen=True)
class _Network:
    """All names of a network together, because what one of them means depends on the others."""

    shapes: Mapping[str, Shape]
    config: Mapping[str, Any]
    own: Table
    types: Mapping[str, str]

    @cached_property
    def names(self) -> dict[str, str]:
        """Name in the model -> name without wrappers."""
        return {name: clean(name) for name in self.shapes}

    @cached_property
    def own_roles(self) -> dict[str, str]:
        return {name: _match(cleaned, self.own) for name, cleaned in self.names.items()}

    @cached_property
    def kept(self) -> list[str]:
        return [name for name, shape in self.shapes.items()
                if self.own_roles[name] != "ignore" and not _is_buffer(self.names[name], shape)]

    @cached_property
    def matrices(self) -> list[str]:
        return [name for name in self.kept if _is_matrix(self.names[name], self.shapes[name])]

    def path(self, name: str) -> str:
        return self.names[name].removesuffix(".weight")

    @cached_property
    def attention(self) -> dict[str, str]:
        """Matrices of attention and their roles; none at all where q, k and v are not complete."""
        roles = {name: self.own_roles[name] or _match(self.path(name), ATTENTION) for name in self.matrices}
        attention = {name: role for name, role in roles.items() if role in (*QKV, *FUSED_QKV, "attn_out")}
        present = set(attention.values())
        return attention if present.issuperset(QKV) or present.intersection(FUSED_QKV) else {}

    @cached_property
    def stacks(self) -> dict[str, list[int]]:
        """Stack of blocks -> the numbers of its blocks: those that hold attention."""
        places = sorted({_numbered(self.names[name]) for name in self.attention})
        return {stack: [number for other, number in places if other == stack] for stack, _ in places}

    def block(self, name: str) -> tuple[int, int] | None:
        """(layer from 1, depth of its stack), or None outside every block."""
        stack, number = _numbered(self.names[name])
        order = self.stacks.get(stack, [])
        return (order.index(number) + 1, len(order)) if number in order else None

    @cached_property
    def roles(self) -> dict[str, str]:
        roles = self._transformer() if self.attention else self._dense()
        for name, role in roles.items():
            if self.types.get(name) == "Embedding" and role not in EMBEDDINGS and not self.own_roles[name]:
                roles[name] = "embedding"
        return roles

    def _transformer(self) -> dict[str, str]:
        return {name: self._transformer_role(name) for name in self.matrices}

    def _transformer_role(self, name: str) -> str:
        known = self.own_roles[name] or self.attention.get(name, "")
        inside = self.block(name) is not None and _numbered(self.names[name])[1] >= 0
        tables = (MLP,) if inside else (OUTSIDE, MLP)
        return known or next((role for table in tables if (role := _match(self.path(name), table))), UNKNOWN)

    def _dense(self) -> dict[str, str]:
        """Roles without attention: embeddings by name, hidden layers, and the last matrix is the readout."""
        roles = {name: self.own_roles[name] or self._dense_role(name) for name in self.matrices}
        flat = [name for name, role in roles.items() if role == "hidden" and len(self.shapes[name]) == 2]
        if flat and "readout" not in roles.values():
            named = [name for name in flat if _match(self.path(name), OUTSIDE) == "readout"]
            roles[(named or flat)[-1]] = "readout"
        return roles

    def _dense_role(self, name: str) -> str:
        if RECURRENT.search(name):
            return UNKNOWN
        outside = _match(self.path(name), OUTSIDE)
        return outside if outside in EMBEDDINGS else "hidden"

    def place(self, name: str) -> tuple[int, int]:
        """(layer, depth). Embeddings are layer 0; matrices after the blocks have the last block's layer."""
        dense = [other for other, role in self.roles.items() if role not in EMBEDDINGS]
        depth = max(map(len, self.stacks.values())) if self.stacks else len(dense)
        if self.roles[name] in EMBEDDINGS:
            return 0, depth
        if not self.stacks:
            return dense.index(name) + 1, depth
        return self.block(name) or (depth, depth)

    @cached_property
    def has_conv1d(self) -> bool:
        """Whether a fused c_attn has shape [d, 3d], as only Conv1D's [in, out] has."""
        return any(CONV1D.search(self.names[name]) and self.shapes[name][1] == 3 * self.shapes[name][0]
                   for name, role in self.attention.items() if role == "qkv")

    def transposed(self, name: str) -> bool:
        if name in self.types:
            return self.types[name] == "Conv1D"
        return self.has_conv1d and bool(CONV1D.search(self.names[name]))

    def count(self, *keys: str) -> int:
        """A head count of the config, 0 where it has none."""
        values = (self.config.get(key) for key in keys)
        return next((value for value in values if isinstance(value, int) and value > 0), 0)

    def pieces(self, name: str) -> list[Piece]:
        role, shape = self.roles[name], self.shapes[name]
        if self.attention and role in (*BLOCK, *FUSED) and len(shape) != 2:
            return [self._piece(name, UNKNOWN, shape, note=f"{role} of {len(shape)} dimensions: expected 2")]
        if role not in FUSED:
            return [self._piece(name, role, shape, note="no pattern knows this name" * (role == UNKNOWN))]
        axis = 1 if self.transposed(name) else 0
        divided = parts(role, shape[axis], self.count)
        if isinstance(divided, str):
            return [self._piece(name, UNKNOWN, shape, note=f"fused: {divided}")]
        places = cuts(divided, axis, self.count(*HEADS) if role == "qkv_per_head" else 1)
        return [self._piece(name, part_role, _with(shape, axis, rows), part, cut)
                for (part, part_role, rows), cut in zip(divided, places, strict=True)]

    def _piece(self, name: str, role: str, shape: Shape, part: str = "", cut: Cut | None = None,
               note: str = "") -> Piece:
        layer, depth = self.place(name)
        fan_in, fan_out = fans(shape, role, self.transposed(name))
        label = self.names[name] + (f"[{part}]" if part else "")
        return Piece(Parameter(label, role, layer, depth, fan_in, fan_out), name, shape, cut, note)


def _with(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1:])
