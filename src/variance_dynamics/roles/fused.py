"""Tensors that hold several matrices: which part of their output axis is which."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from variance_dynamics.weights.parameter import QKV
from variance_dynamics.weights.pieces import Part

HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads")
KEY_VALUE_HEADS = ("num_key_value_heads", "n_kv_head", "n_kv_heads", "num_kv_heads", "num_query_groups",
                   "n_query_groups", "multi_query_group_num")
"""Names of the head counts in configs."""
MULTI_QUERY_OF_OLD = "new_decoder_architecture"
"""Falcon's config has num_kv_heads even where multi_query is true, which then decides."""


@dataclass(frozen=True)
class Division:
    """The parts of an output axis, in order; interleaved in `groups` equal groups that each hold all."""

    parts: tuple[Part, ...]
    groups: int = 1


@dataclass(frozen=True)
class Beside:
    """What is known of a fused tensor: its `rows`, the config, and the shapes of its neighbours.

    `out_columns` is fan_in of attention's output projection, 0 if unknown. `latent` is what `_latent` needs:
    rows of q's up projection and of kv's down projection, and the rank of the latent.
    """

    rows: int
    config: Mapping[str, Any]
    out_columns: int = 0
    latent: tuple[int, int, int] | None = None

    def count(self, *keys: str) -> int:
        """A number of the config, 0 where it has none."""
        values = (self.config.get(key) for key in keys)
        return next((value for value in values if type(value) is int and value > 0), 0)

    @property
    def heads(self) -> int:
        return self.count(*HEADS)

    @property
    def key_value_heads(self) -> int:
        if self.config.get("multi_query") is True and not self.config.get(MULTI_QUERY_OF_OLD):
            return 1
        nested = self.config.get("attn_config")
        named = nested.get("kv_n_heads", 0) if isinstance(nested, Mapping) else 0
        return self.count(*KEY_VALUE_HEADS) or named or self.heads


Divide = Callable[[Beside], "Division | str"]


def _equal(*parts: tuple[str, str]) -> Divide:
    """Equal parts one after another."""

    def divide(beside: Beside) -> Division | str:
        size, left = divmod(beside.rows, len(parts))
        if left:
            return f"{beside.rows} rows: expected a multiple of {len(parts)}"
        return Division(tuple((name, role, size) for name, role in parts))

    return divide


def _qkv(beside: Beside) -> Division | str:
    """All of q, then all of k, then all of v. The size of q is also that of the output projection's input."""
    q = beside.out_columns or _queries(beside)
    k, left = divmod(beside.rows - q, 2)
    if left or q <= 0 or k <= 0:
        return f"{beside.rows} rows: expected the number of heads, and of key-value heads"
    return Division((("q", "q", q), ("k", "k", k), ("v", "v", k)))


def _queries(beside: Beside) -> int:
    """Rows of q by the head counts; 0 where these do not divide the rows."""
    heads, groups = beside.heads or 1, beside.key_value_heads or 1
    size, left = divmod(beside.rows, heads + 2 * groups)
    return 0 if left else heads * size


def _qkv_per_head(beside: Beside) -> Division | str:
    """Group by group, a group being a key-value head: its query heads, its key, its value."""
    rows, heads = beside.rows, beside.heads
    groups = heads if rows == 3 * beside.out_columns else beside.key_value_heads
    if not heads or heads % groups or rows % (heads + 2 * groups):
        return f"{rows} rows interleaved per head: expected the number of heads, and of key-value heads"
    size = rows // (heads + 2 * groups)
    sizes = (heads * size, groups * size, groups * size)
    return Division(tuple((role, role, own) for role, own in zip(QKV, sizes, strict=True)), groups)


def _q_v_k_in_four(beside: Beside) -> Division | str:
    """CodeGen's: four equal groups, each of q, v, k in this order."""
    if beside.rows % 12:
        return f"{beside.rows} rows: expected a multiple of 12"
    return Division(tuple((role, role, beside.rows // 3) for role in ("q", "v", "k")), 4)


def _kv_per_head(beside: Beside) -> Division | str:
    """Latent attention's up projection, head by head: the key without its rotary part, then the value."""
    heads, key, value = beside.heads, beside.count("qk_nope_head_dim"), beside.count("v_head_dim")
    if not (heads and key and value):
        heads, key, value = _latent(beside)
    if not heads or heads * (key + value) != beside.rows:
        return f"{beside.rows} rows interleaved per head: expected num_attention_heads and v_head_dim"
    return Division((("k", "k", heads * key), ("v", "v", heads * value)), heads)


def _latent(beside: Beside) -> tuple[int, int, int]:
    """(heads, size of a key without its rotary part, size of a value) by the shapes beside it, or zeros."""
    if not beside.latent or not beside.out_columns:
        return 0, 0, 0
    q_rows, down_rows, rank = beside.latent
    keys, rotary = beside.rows - beside.out_columns, down_rows - rank
    heads = (q_rows - keys) // rotary if rotary > 0 else 0
    if heads <= 0 or keys % heads or beside.out_columns % heads or keys + heads * rotary != q_rows:
        return 0, 0, 0
    return heads, keys // heads, beside.out_columns // heads


def _qkvz_per_head(beside: Beside) -> Division | str:
    """Qwen3-Next's linear attention, key head by key head: q, k, then v and the gate of its value heads."""
    keys = beside.count("linear_num_key_heads") * beside.count("linear_key_head_dim")
    values = beside.count("linear_num_value_heads") * beside.count("linear_value_head_dim")
    if not keys or 2 * (keys + values) != beside.rows:
        return f"{beside.rows} rows interleaved per head: expected linear_num_key_heads in the config"
    parts = (("q", "q", keys), ("k", "k", keys), ("v", "v", values), ("z", "mixer_in", values))
    return Division(parts, beside.count("linear_num_key_heads"))


def _qkv_linear(beside: Beside) -> Division | str:
    """Qwen3.5's linear attention: q, k of one size, v of another, which is also the output's."""
    values = beside.out_columns
    keys, left = divmod(beside.rows - values, 2)
    if left or not values or keys <= 0:
        return f"{beside.rows} rows: expected an output projection that says the size of v"
    return Division((("q", "q", keys), ("k", "k", keys), ("v", "v", values)))


def _interleaved_gate_up(beside: Beside) -> Division | str:
    """GPT-OSS's: a row of the gate, then a row of the up projection."""
    half = beside.rows // 2
    return Division((("gate", "mlp_in", half), ("up", "mlp_in", half)), half)


DIVISIONS: dict[str, Divide] = {
    "qkv": _qkv,
    "qkv_per_head": _qkv_per_head,
    "qkv_in_four": _q_v_k_in_four,
    "qkv_linear": _qkv_linear,
    "qkvz_per_head": _qkvz_per_head,
    "qkvo": _equal(("q", "q"), ("k", "k"), ("v", "v"), ("o", "attn_out")),
    "kv": _equal(("k", "k"), ("v", "v")),
    "qk": _equal(("q", "q"), ("k", "k")),
    "kv_per_head": _kv_per_head,
    "gate_up": _equal(("gate", "mlp_in"), ("up", "mlp_in")),
    "gate_up_interleaved": _interleaved_gate_up,
}
"""Pseudo-role of a fused tensor -> how its output axis is divided, or a text that says what is missing."""
FUSED = tuple(DIVISIONS)
ROLE_OF = {"gate_up": "mlp_in", "gate_up_interleaved": "mlp_in", "kv": "k", "kv_per_head": "k",
           **{fused: "q" for fused in FUSED if fused.startswith("q")}}
"""Kind of fused tensor -> a role that it holds."""
