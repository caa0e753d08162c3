"""What each parameter of any network is for: from its name and shape, and the model's config if there is one.

Needs no torch, so that it serves a checkpoint's header as well as a live module. In a network with names of
blocks a name that no pattern matches gets the role "unknown" and a note; nothing is guessed. Fused tensors
are divided into q, k and v, stacked ones into their experts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from variance_dynamics.base.errors import BadInput
from variance_dynamics.roles.fused import FUSED
from variance_dynamics.roles.names import clean
from variance_dynamics.roles.network import Network
from variance_dynamics.roles.patterns import Table
from variance_dynamics.roles.pieces_of import pieces_of
from variance_dynamics.weights.parameter import ROLES, UNKNOWN
from variance_dynamics.weights.pieces import Piece, Shape

SETTABLE = (*ROLES, *FUSED, "ignore")
"""Roles that a user's own pattern may give."""


@dataclass(frozen=True)
class NetworkRoles:
    """The roles of a network's parameters: a piece for every weight matrix, and the names of the vectors.

    Pieces are in the order of the names given. Vectors are what is no matrix; `vector_roles` says which of
    them are norm, bias, scale (what multiplies a block's output) or other. `unmatched` are the user's own
    patterns that are in no name.
    """

    pieces: tuple[Piece, ...]
    vectors: tuple[str, ...]
    vector_roles: Mapping[str, str] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()

    @property
    def unknown(self) -> tuple[Piece, ...]:
        """Matrices whose name no pattern matches."""
        return tuple(piece for piece in self.pieces if piece.parameter.role == UNKNOWN)


def find_roles(shapes: Mapping[str, Shape], config: Mapping[str, Any] | None = None,
               patterns: Mapping[str, str] | None = None, types: Mapping[str, str] | None = None
               ) -> NetworkRoles:
    """Roles of all parameters of `shapes`, a mapping of their names to their shapes.

    In a network without blocks the names must come in the order of the forward pass. `config` is a Hugging
    Face config (for head counts). `patterns` maps a user's own regular expressions, searched in the full
    name, to roles; they come before all others. `types` maps a parameter to its module's class name. Raises
    BadInput for a pattern that is no regular expression, or a role that does not exist.

    >>> shapes = {"h.0.attn.c_attn.weight": (8, 24), "h.0.mlp.c_fc.weight": (8, 32), "ln_f.bias": (8,)}
    >>> [(p.parameter.role, p.parameter.fan_in, p.parameter.fan_out) for p in find_roles(shapes).pieces]
    [('q', 8, 8), ('k', 8, 8), ('v', 8, 8), ('mlp_in', 8, 32)]
    """
    own = _compiled(patterns or {})
    network = Network(shapes, config or {}, own, types or {})
    unmatched = tuple(pattern.pattern for _, pattern in own
                      if not any(map(pattern.search, network.names.values())))
    return NetworkRoles(tuple(pieces_of(network)), tuple(network.vectors), network.vectors, unmatched)


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


__all__ = ["SETTABLE", "UNKNOWN", "NetworkRoles", "clean", "find_roles"]
