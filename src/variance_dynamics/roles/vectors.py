"""What parameters that are no matrices are for: norms, biases, scales."""

import re

from variance_dynamics.roles.names import has, kind, match
from variance_dynamics.roles.patterns import BIAS, BUFFERS, NORM, ROUTERS, SCALE, STATES, TABLE
from variance_dynamics.weights.pieces import Shape

NORM_CLASS = re.compile("norm", re.IGNORECASE)


def is_buffer(name: str, shape: Shape) -> bool:
    """Whether nobody initialises it: masks, counters, tables that are computed."""
    mask = len(shape) == 4 and name.endswith(("attn.bias", "attention.bias"))
    return mask or has(kind(name), BUFFERS)


def is_matrix(name: str, path: str, shape: Shape) -> bool:
    """Two dimensions or more. With a single size above 1 only a layer's weight or a token is a matrix.

    A token is one whatever its shape; a bias, the part of weight normalisation that is a length, and the
    state matrix of a state space are none.
    """
    table = match(kind(path), TABLE)
    if len(shape) < 2:
        return len(shape) == 1 and table == "token"
    if table in ("bias_table", "token", "position"):
        return True
    short = kind(name)
    if has(short, BIAS) or has(short, STATES) or name.endswith(("original0", "weight_g")):
        return False
    return sum(size > 1 for size in shape) > 1 or name.endswith("weight") or "embed" in name


def vector_role(name: str, shape: Shape, owner: str) -> str:
    """norm, bias, scale or other, by its name and the class name of its module ("" where it is not known)."""
    last = name.rpartition(".")[2]
    if STATES.search(name) or ROUTERS.search(name.removesuffix(".weight")):  # OLMo-core's router is flat
        return "other"
    if NORM_CLASS.search(owner) or (NORM.search(name) and not BIAS.search(last)):
        return "bias" if BIAS.search(last) else "norm"
    if BIAS.search(name):
        return "bias"
    if SCALE.search(name):
        return "scale"
    return "norm" if not owner and last == "weight" and len(shape) == 1 else "other"
