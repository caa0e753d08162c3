"""The roles of all parameters of a network together, because what one name means depends on the others."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from variance_dynamics.roles import vectors
from variance_dynamics.roles.blocks import KINDS, Blocks, find_blocks
from variance_dynamics.roles.fused import ROLE_OF
from variance_dynamics.roles.names import (
    clean,
    has,
    kind,
    match,
    parent,
    path_of,
    recurrent_layer,
    sequence_of,
)
from variance_dynamics.roles.patterns import ATTENTION, BLOCKS, CONV1D, INPUTS_FIRST, OUTSIDE, Table
from variance_dynamics.roles.tags import find_beside, gates, tag
from variance_dynamics.weights.parameter import QKV, TABLES, UNKNOWN
from variance_dynamics.weights.pieces import Shape

BEFORE_BLOCKS = (*TABLES, "patch", "conv")
"""Roles whose layer is 0 outside of the blocks."""
OUTERMOST = ("mlp_in", "mlp_out", "")
"""Tags that a matrix outside of every block has only if none of the names there fits."""


@dataclass(frozen=True)
class Network:
    """Names and shapes, the config, a user's own patterns, and the class names of modules (where known)."""

    shapes: Mapping[str, Shape]
    config: Mapping[str, Any]
    own: Table
    types: Mapping[str, str]

    @cached_property
    def names(self) -> dict[str, str]:
        """Name in the model -> name without wrappers."""
        return {name: clean(name) for name in self.shapes}

    @cached_property
    def paths(self) -> dict[str, str]:
        """Name in the model -> path that patterns are searched in."""
        return {name: path_of(cleaned) for name, cleaned in self.names.items()}

    @cached_property
    def own_roles(self) -> dict[str, str]:
        return {name: match(cleaned, self.own) if self.own else "" for name, cleaned in self.names.items()}

    @cached_property
    def kept(self) -> list[str]:
        return [name for name, shape in self.shapes.items()
                if self.own_roles[name] != "ignore" and not vectors.is_buffer(self.names[name], shape)]

    @cached_property
    def matrices(self) -> list[str]:
        return [name for name in self.kept
                if vectors.is_matrix(self.names[name], self.paths[name], self.shapes[name])]

    @cached_property
    def vectors(self) -> dict[str, str]:
        """Name of what is no matrix -> norm, bias, scale or other."""
        matrices = set(self.matrices)
        return {name: vectors.vector_role(self.names[name], self.shapes[name], self.types.get(name, ""))
                for name in self.kept if name not in matrices}

    @cached_property
    def has_blocks(self) -> bool:
        """Whether names look like those of a network of blocks."""
        kinds = {kind(self.paths[name]) for name in self.matrices}
        parts = defaultdict(set)
        for each in kinds:
            parts[parent(each)].add(match(each, ATTENTION))
        return any(map(BLOCKS.search, kinds)) or any(found.issuperset(QKV) for found in parts.values())

    @cached_property
    def tags(self) -> dict[str, str]:
        """Role, or kind of fused tensor, of each matrix; not yet by what lies outside of the blocks."""
        beside = find_beside([self.paths[name] for name in self.matrices])
        found = {name: self.own_roles[name]
                 or tag(self.paths[name], self.shapes[name], self.types.get(name, ""), beside)
                 for name in self.matrices}
        return found | self._sequences(found)

    def _sequences(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Of each nn.Sequential that is an MLP: the first matrix is mlp_in, the last mlp_out."""
        sequences: dict[str, list[str]] = defaultdict(list)
        for name in tags:
            if tags[name] == "mlp_sequence":
                sequences[sequence_of(self.paths[name])].append(name)
        roles = dict.fromkeys((name for members in sequences.values() for name in members), "")
        for members in sequences.values():
            if len(members) > 1:
                roles |= dict.fromkeys(members[:-1], "mlp_in") | {members[-1]: "mlp_out"}
        return roles

    @cached_property
    def blocks(self) -> Blocks:
        if not self.has_blocks:
            return Blocks({})
        return find_blocks({self.paths[name]: ROLE_OF.get(tag, tag) for name, tag in self.tags.items()})

    @cached_property
    def roles(self) -> dict[str, str]:
        """Role, or kind of fused tensor, of each matrix."""
        return {name: self._in_blocks(name) for name in self.matrices} if self.has_blocks else self._dense()

    def _in_blocks(self, name: str) -> str:
        found = self.tags[name]
        inside = self.blocks.place(self.paths[name]) is not None
        if self.own_roles[name] or found not in OUTERMOST or inside:
            return found or UNKNOWN
        return match(kind(self.paths[name]), OUTSIDE) or found or UNKNOWN

    def _dense(self) -> dict[str, str]:
        """Roles without blocks: tables by name, hidden layers, and the last matrix is the readout."""
        roles = {name: self.own_roles[name] or self._dense_role(name) for name in self.matrices}
        flat = [name for name, role in roles.items() if role == "hidden" and len(self.shapes[name]) == 2]
        if flat and "readout" not in roles.values():
            named = [name for name in flat if match(self.paths[name], OUTSIDE) == "readout"]
            roles[(named or flat)[-1]] = "readout"
        return roles

    def _dense_role(self, name: str) -> str:
        table = self.tags[name] if self.tags[name] in (*TABLES, "patch", "conv") else gates(self.paths[name])
        if table or len(self.shapes[name]) == 2:
            return table or "hidden"
        return UNKNOWN if self.types.get(name) else "conv"

    @cached_property
    def _inside(self) -> bool:
        """Whether any matrix is that of a block."""
        return self.has_blocks and any(ROLE_OF.get(role, role) in KINDS for role in self.roles.values())

    @cached_property
    def _order(self) -> dict[str, int]:
        """Layer of each matrix without blocks: its place in the order; a recurrent layer has one."""
        layers: dict[str, int] = {}
        return {name: layers.setdefault(recurrent_layer(self.paths[name]), len(layers) + 1)
                for name, role in self.roles.items() if role not in TABLES}

    def place(self, name: str) -> tuple[int, int]:
        """(layer, depth). Embeddings are layer 0; matrices after the blocks have the last block's layer."""
        if not self._inside:
            return self._order.get(name, 0), max(self._order.values(), default=0)
        depth = self.blocks.depth
        outside = (0, depth) if self.roles[name] in BEFORE_BLOCKS else (depth, depth)
        return self.blocks.place(self.paths[name]) or outside

    @cached_property
    def has_conv1d(self) -> bool:
        """Whether a fused c_attn has shape [d, 3d], as only Conv1D's [in, out] has."""
        return any(tag == "qkv" and CONV1D.search(self.names[name])
                   and self.shapes[name][1] == 3 * self.shapes[name][0] for name, tag in self.tags.items())

    def transposed(self, name: str) -> bool:
        """Whether a layer's weight is stored as [in, out]."""
        if has(kind(self.names[name]), INPUTS_FIRST):
            return True
        if self.types.get(name):
            return self.types[name] == "Conv1D"
        return self.has_conv1d and bool(CONV1D.search(self.names[name]))
