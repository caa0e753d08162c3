"""What a matrix is by its name and by what lies beside it: a role, a kind of fused tensor, or ""."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from variance_dynamics.roles.fused import FUSED
from variance_dynamics.roles.names import has, kind, match, parent
from variance_dynamics.roles.patterns import (
    ATTENTION,
    CONV,
    EXPERTS,
    FED,
    GATES,
    LORA,
    MIXER,
    MIXERS,
    MLP,
    ROUTER,
    ROUTERS,
    TABLE,
)
from variance_dynamics.weights.parameter import EMBEDDINGS, QKV, TABLES
from variance_dynamics.weights.pieces import Shape

WHOLE = tuple(role for role in FUSED if role.startswith("qkv"))
"""Fused tensors that hold q, k and v."""
READERS = (*QKV, *WHOLE, "kv", "qk", "kv_per_head", "q_down", "kv_down", "mixer_in")


@dataclass(frozen=True)
class Beside:
    """Of all names together: modules that hold experts or are around them, that hold a receptance or a proj,
    and module -> which parts of attention it holds."""

    experts: frozenset[str]
    receptance: frozenset[str]
    proj: frozenset[str]
    attention: Mapping[str, frozenset[str]]


def find_beside(paths: list[str]) -> Beside:
    """What the paths of all matrices say together. GPT-OSS's own mlp1 holds all experts."""
    experts: set[str] = set()
    attention: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        attention[attention_of(path)].add(match(kind(path), ATTENTION))
        if path.endswith(".mlp1"):
            experts.add(parent(path))
        for found in EXPERTS.finditer(path):
            experts.update((path[: found.start()], path[: found.end()].rstrip(".")))
    held = {module: frozenset(tags.intersection(READERS)) for module, tags in attention.items()}
    receptance, proj = (frozenset(parent(path) for path in paths if path.endswith(name))
                        for name in (".receptance", ".proj"))
    return Beside(frozenset(experts - {""}), receptance, proj, held)


def attention_of(path: str) -> str:
    """The module of attention that holds this."""
    return parent(path).removesuffix(".experts")


def tag(path: str, shape: Shape, owner: str, beside: Beside) -> str:
    """The tag of a matrix; `owner` is the class name of its module, "" where it is not known."""
    short = kind(path)
    return (match(short, LORA) or _table(short, shape, owner) or gates(path)
            or _convolution(short, shape, owner)
            or _router(path, short, beside) or _inner(path, short, beside))


def _table(path: str, shape: Shape, owner: str) -> str:
    """Embeddings and the like; the class of the module, where it is known, decides about embeddings."""
    role = match(path, TABLE)
    if role in EMBEDDINGS and (owner == "Linear" or owner.startswith("Conv")):
        return "hidden" if owner == "Linear" else "conv"
    if owner.endswith(("Embedding", "EmbeddingBag")) and len(shape) == 2:
        return role if role in TABLES else "position" if "Position" in owner else "embedding"
    return role


def gates(path: str) -> str:
    """The role of a weight of an RNN, or ""."""
    found = GATES.search(path) if "weight_" in path else None
    return {"ih": "input_gates", "hh": "recurrent_gates", "hr": "hidden"}[found["kind"]] if found else ""


def _convolution(path: str, shape: Shape, owner: str) -> str:
    if len(shape) < 3 or EXPERTS.search(path):
        return ""
    return "conv" if len(shape) > 3 or owner.startswith("Conv") or CONV.search(path) else ""


def _router(path: str, short: str, beside: Beside) -> str:
    if has(short, ROUTERS):
        return "router"
    found = ROUTER.search(path) if has(short, ROUTER) else None
    return "router" if found and path[: found.start()] in beside.experts else ""


def _inner(path: str, short: str, beside: Beside) -> str:
    """Attention, other mixers, MLPs. A q, k or v alone in its module is only called so."""
    if has(short, FED):
        return match(short, MLP)
    if parent(path) in beside.receptance:
        return match(short, MIXER) or "mixer"
    attention, parts = match(short, ATTENTION), beside.attention[attention_of(path)]
    if attention in QKV and len(parts) < 2:
        attention = ""
    if has(short, MIXERS) and (attention in ("", "mixer") or (attention == "attn_out" and not parts)):
        return match(short, MLP) or match(short, MIXER) or "mixer"
    if path.endswith(".fc_2") and parent(path) not in beside.proj:  # LitGPT's has fc_1, fc_2 and proj
        return "mlp_out"
    return attention or match(short, MLP)
