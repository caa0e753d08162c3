"""The pieces of each tensor of a network: a fused or stacked tensor holds several matrices."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from variance_dynamics.roles.fused import DIVISIONS, FUSED, Beside, Division
from variance_dynamics.roles.names import parent
from variance_dynamics.roles.network import Network
from variance_dynamics.roles.patterns import EXPERTS
from variance_dynamics.roles.stacks import FUSED_IN, Stacked
from variance_dynamics.weights.parameter import IN_BLOCK, TABLES, UNKNOWN, Parameter
from variance_dynamics.weights.pieces import Cut, Part, Piece, Shape, cuts, fans

WIDTHS = ("hidden_size", "d_model", "n_embd", "dim")
"""Names of the model's width in configs."""
NO_PATTERN = "no pattern knows this name"
GATES = {4: "ifgo", 3: "rzn", 1: ""}
"""Gates of torch's LSTM and GRU in their order, by their number."""


@dataclass(frozen=True)
class Pieces:
    """Divides the tensors of `network`."""

    network: Network

    def of(self, name: str) -> list[Piece]:
        """The matrices that this tensor holds; one of unknown role with a note where they cannot be known."""
        role, shape = self.network.roles[name], self.network.shapes[name]
        if role == UNKNOWN:
            return [self._unknown(name, NO_PATTERN)]
        if role in ("input_gates", "recurrent_gates"):
            return self._gates(name)
        if role in TABLES or role in ("conv", "patch"):
            return [self._piece(name, role, shape)]
        if (role in IN_BLOCK or role in FUSED) and len(shape) != 2:
            return self._cube(name)
        flat = self._flat_experts(name)
        if flat:
            return flat
        tag = self._with_gate(name) if role == "mlp_in" else role
        return self._divided(name, tag) if tag in FUSED else [self._piece(name, role, shape)]

    def _unknown(self, name: str, note: str) -> Piece:
        return self._piece(name, UNKNOWN, self.network.shapes[name], note=note)

    def _piece(self, name: str, role: str, shape: Shape, part: str = "", cut: Cut | None = None,
               note: str = "", inputs: tuple[int, ...] | None = None) -> Piece:
        layer, depth = self.network.place(name)
        label = self.network.names[name] + (f"[{part}]" if part else "")
        if inputs is None and len(shape) == 2 and role not in TABLES and self.transposed(name):
            inputs = (0,)
        if inputs is None:
            into, out = fans(shape, role) if len(shape) > 1 else (1, math.prod(shape))
        else:
            into = math.prod(shape[axis] for axis in inputs)
            out = math.prod(shape) // max(1, into)
        return Piece(Parameter(label, role, layer, depth, into, out), name, shape, cut, note, inputs)

    def _divided(self, name: str, tag: str, index: int | None = None, axis: int | None = None) -> list[Piece]:
        """The parts of a fused matrix; `index` and the output `axis` are those of a matrix in a stack."""
        shape = self.network.shapes[name] if index is None else self.network.shapes[name][1:]
        if tag == "qkvo" and index is None and shape[0] != 4 * shape[1]:
            return [self._unknown(name, f"fused: {shape[0]} x {shape[1]}: expected q, k, v, o in rows")]
        if axis is None:
            axis = 1 if self.transposed(name) else 0
        division = self._division(name, tag, shape[axis])
        if isinstance(division, str):
            return [self._unknown(name, f"fused: {division}")] if not index else []
        places = cuts(division.parts, axis, division.groups, index)
        inputs = (0,) if axis == 1 else None
        return [self._piece(name, role, _with(shape, axis, rows), _label(index, part), cut, inputs=inputs)
                for (part, role, rows), cut in zip(division.parts, places, strict=True)]

    def _division(self, name: str, tag: str, rows: int) -> Division | str:
        path = self.network.paths[name]
        config = self.config_of(path)
        out = self._outputs.get(parent(path)) or self._outputs.get(parent(parent(path)), 0)
        if tag == "qkv_per_head" and config.get("multi_query_attention") is True:  # ChatGLM
            tag = "qkv"
        if tag == "qkv" and self._per_head(path, config):
            tag = "qkv_per_head"
        if tag == "qkv" and f"{parent(parent(path))}.mlp.fc_in" in self._paths:  # CodeGen
            tag = "qkv_in_four"
        return DIVISIONS[tag](Beside(rows, config, out, self._latent.get(parent(path))))

    def _per_head(self, path: str, config: Mapping[str, Any]) -> bool:
        """Families that interleave the heads of a tensor which others do not."""
        kind = config.get("model_type")
        interleaved = kind == "internlm2" or (kind == "gpt_bigcode" and config.get("multi_query") is False)
        beside = ("output_gate", "attention_biases")  # MiniMax, LeViT
        return interleaved or any(f"{parent(path)}.{name}" in self._paths for name in beside)

    def config_of(self, path: str) -> Mapping[str, Any]:
        """The config of the part of a model that this path lies in: of the text, the images and so on."""
        config = self.network.config
        nested = {key.removesuffix("_config"): value for key, value in config.items()
                  if key.endswith("_config") and isinstance(value, Mapping)}
        for part in (*(key for key in nested if key in path), "text"):
            if part in nested:
                return {**config, **nested[part]}
        return config

    def transposed(self, name: str) -> bool:
        """Whether a matrix is stored as [in, out].

        So is a bare parameter that leads out of an MLP and has the shape of the one that leads in.
        """
        shape, path = self.network.shapes[name], self.network.paths[name]
        alike = self.network.roles[name] == "mlp_out" and self._into.get(parent(path)) == shape
        bare = alike and shape[0] != shape[1] and not name.endswith("weight")
        return bare or self.network.transposed(name)

    @cached_property
    def _into(self) -> dict[str, Shape]:
        """Module of an MLP -> shape of the matrix that leads into it."""
        return {parent(self.network.paths[name]): self.network.shapes[name]
                for name, role in self.network.roles.items() if role == "mlp_in"}

    @cached_property
    def _paths(self) -> set[str]:
        return set(self.network.paths.values())

    @cached_property
    def _outputs(self) -> dict[str, int]:
        """Module of attention, and the one around it -> columns of its output projection."""
        near: dict[str, int] = {}
        around: dict[str, int] = {}
        for name, role in self.network.roles.items():
            shape, path = self.network.shapes[name], self.network.paths[name]
            if role in ("attn_out", "mixer_out") and len(shape) == 2:
                columns = shape[0] if self.transposed(name) else shape[1]
                near[parent(path)] = around[parent(parent(path))] = columns
        return around | near

    @cached_property
    def _latent(self) -> dict[str, tuple[int, int, int]]:
        """Module of latent attention -> rows of q's and of kv's down projection, and the latent's rank."""
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for name, role in self.network.roles.items():
            shape = self.network.shapes[name]
            if role in ("q", "kv_down", "kv_per_head") and len(shape) == 2:
                size = shape[1] if role == "kv_per_head" else shape[0]
                found[parent(self.network.paths[name])][role] = size
        return {module: (each["q"], each["kv_down"], each["kv_per_head"])
                for module, each in found.items() if len(each) == 3}

    @cached_property
    def _inner(self) -> dict[str, int]:
        """Module of an MLP -> columns of the matrix that leads out of it."""
        flat = (name for name, role in self.network.roles.items()
                if role == "mlp_out" and len(self.network.shapes[name]) == 2)
        return {parent(self.network.paths[name]): self.network.shapes[name][1]
                for name in flat if not self.transposed(name)}

    def _with_gate(self, name: str) -> str:
        """gate_up where a matrix has twice the rows that the way out of its MLP has columns."""
        rows, columns = self.network.shapes[name][0], self._inner.get(parent(self.network.paths[name]))
        return "gate_up" if rows == 2 * (columns or 0) and not self.transposed(name) else "mlp_in"

    def _gates(self, name: str) -> list[Piece]:
        """The gates of an RNN, an LSTM or a GRU, each a matrix."""
        role, shape = self.network.roles[name], self.network.shapes[name]
        count = self._gate_count(name)
        if count not in GATES or shape[0] % count:
            return [self._unknown(name, f"{shape[0]} rows: expected those of 1, 3 or 4 gates")]
        parts: list[Part] = [(gate, role, shape[0] // count) for gate in GATES[count]]
        if not parts:
            return [self._piece(name, role, shape)]
        return [self._piece(name, role, (rows, *shape[1:]), part, cut)
                for (part, _, rows), cut in zip(parts, cuts(parts, 0), strict=True)]

    def _gate_count(self, name: str) -> int:
        """Rows of the recurrent weight / size of the state, which is what it reads unless it is projected."""
        shapes = self.network.shapes
        recurrent = shapes.get(name.replace("weight_ih", "weight_hh"), (0, 0))
        projection = shapes.get(name.replace("weight_ih", "weight_hr").replace("weight_hh", "weight_hr"))
        state = projection[1] if projection else recurrent[1]
        return recurrent[0] // state if state else 0

    def _cube(self, name: str) -> list[Piece]:
        """A tensor of three dimensions: experts, heads, or q, k and v above one another."""
        role, shape = self.network.roles[name], self.network.shapes[name]
        if len(shape) == 1:
            return [self._piece(name, role, shape)]
        if len(shape) != 3:
            return [self._unknown(name, f"{role} of {len(shape)} dimensions: expected 2 or 3")]
        if role in ("qkv", "qkvo") and shape[0] == len(role):
            return [self._piece(name, "attn_out" if part == "o" else part, shape[1:], part,
                                Cut(0, shape[1], 0, 1, i)) for i, part in enumerate(role)]
        heads = self._heads(name) if not EXPERTS.search(self.network.paths[name]) else None
        return [self._piece(name, role, shape, inputs=heads)] if heads else self._experts(name)

    def _heads(self, name: str) -> tuple[int, ...] | None:
        """The axes that are inputs, where heads have an axis of their own.

        TransformerLens has W_Q [heads, in, size] and W_O [heads, size, out]; XLNet has q [in, heads, size]
        and o [out, heads, size].
        """
        role, path = self.network.roles[name], self.network.paths[name]
        if path.rpartition(".")[2].startswith("W_"):
            return (0, 1) if role == "attn_out" else (1,)
        if "rel_attn" in path:
            return (1, 2) if role == "attn_out" else (0,)
        return None

    def _experts(self, name: str) -> list[Piece]:
        """A stack of matrices, one of each expert."""
        role, (count, *shape) = self.network.roles[name], self.network.shapes[name]
        key = role if role in FUSED_IN else {"q": "mlp_in", "attn_out": "mlp_out"}.get(role, role)
        stacked = Stacked({**self._stacks.get(parent(self.network.paths[name]), {}), key: tuple(shape)},
                          self._width(name))
        if role == "mlp_in" and stacked.has_gate:
            stacked = Stacked({**stacked.shapes, "gate_up": tuple(shape)}, stacked.width)
            role = key = "gate_up"
        axis = stacked.input_axis(key)
        if axis is None or (role not in FUSED_IN and role not in IN_BLOCK):
            return [self._unknown(name, f"stack of {count} matrices {shape[0]} x {shape[1]}: expected a "
                                        "config with hidden_size, which says what is the input")]
        if role in FUSED_IN:
            tag = "gate_up_interleaved" if self._interleaved(name) else role
            return [piece for i in range(count) for piece in self._divided(name, tag, i, 1 - axis)]
        return [self._piece(name, role, tuple(shape), str(i), Cut(0, shape[1 - axis], 1 - axis, 1, i),
                            inputs=(axis,)) for i in range(count)]

    def _interleaved(self, name: str) -> bool:
        """GPT-OSS interleaves gate and up; its experts have biases, and no one else's such a stack."""
        kind, bias = self.config_of(self.network.paths[name]).get("model_type", ""), f"{name}_bias"
        return str(kind).startswith("gpt_oss") or bias.replace("_weight", "") in self.network.shapes

    @cached_property
    def _stacks(self) -> dict[str, dict[str, Shape]]:
        """Module -> the shapes of the matrices that it stacks, by role."""
        found: dict[str, dict[str, Shape]] = defaultdict(dict)
        for name, role in self.network.roles.items():
            if len(self.network.shapes[name]) == 3:
                found[parent(self.network.paths[name])][role] = self.network.shapes[name][1:]
        return found

    def _width(self, name: str) -> int:
        """Width of the model: by the config, by the router beside the experts, or by the embedding."""
        path, shape = self.network.paths[name], self.network.shapes[name]
        config = self.config_of(path)
        routers = (self._routers.get(module, 0) for module in (parent(path), parent(parent(path)),
                                                               parent(parent(parent(path)))))
        known = [*routers, *(config.get(key) for key in WIDTHS), self._embedded]
        return next((width for width in known if isinstance(width, int) and width in shape[-2:]), 0)

    @cached_property
    def _routers(self) -> dict[str, int]:
        """Module around a router -> what the router reads."""
        found = {}
        for name, role in self.network.roles.items():
            if role == "router" and len(self.network.shapes[name]) == 2:
                path = self.network.paths[name]
                for module in (parent(path), parent(parent(path))):
                    found[module] = self.network.shapes[name][1]
        return found

    @cached_property
    def _embedded(self) -> int:
        """Columns of the largest embedding."""
        roles = self.network.roles.items()
        tables = [self.network.shapes[name] for name, role in roles if role == "embedding"]
        return max(tables, default=(0,))[-1]

    def _flat_experts(self, name: str) -> list[Piece]:
        """MegaBlocks' experts above one another: w1, v1, w2 [experts * inner, width]. Empty for others."""
        path, shape = self.network.paths[name], self.network.shapes[name]
        role = self.network.roles[name]
        count = self._expert_count(path)
        if not path.rpartition(".")[0].endswith("experts.mlp") or not count or shape[0] % count:
            return []
        inner = shape[0] // count
        inputs = (0,) if role == "mlp_out" else (1,)
        parts: list[Part] = [(str(i), role, inner) for i in range(count)]
        return [self._piece(name, role, (inner, shape[1]), part, cut, inputs=inputs)
                for (part, _, _), cut in zip(parts, cuts(parts, 0), strict=True)]

    def _expert_count(self, path: str) -> int:
        """Rows of the router of these experts."""
        around = parent(parent(parent(path)))
        return next((self.network.shapes[name][0] for name in self._router_names.get(around, ())), 0)

    @cached_property
    def _router_names(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for name, role in self.network.roles.items():
            if role == "router" and len(self.network.shapes[name]) == 2:
                for module in (parent(self.network.paths[name]), parent(parent(self.network.paths[name]))):
                    found[module].append(name)
        return found


def _label(index: int | None, part: str) -> str:
    return part if index is None else f"{index}.{part}"


def _with(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1:])


def pieces_of(network: Network) -> Iterator[Piece]:
    """Every matrix of the network, in the order of its tensors."""
    pieces = Pieces(network)
    for name in network.matrices:
        yield from pieces.of(name)
