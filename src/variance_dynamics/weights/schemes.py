"""Initialisation schemes: the std that each gives to a parameter, and how normal draws become weights.

Sampling, theory and figures all use these std functions. Importing this module needs no torch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from variance_dynamics.base.errors import BadInput, check_name
from variance_dynamics.weights.parameter import DENSE, IN_BLOCK, RESIDUAL, ROLES, TABLES, Parameter

if TYPE_CHECKING:
    from torch import Tensor

Std = Callable[[Parameter, float], float]
ADAPTERS = ("lora_a", "lora_b")
"""No scheme is about these: an adapter starts at 0 whatever it adapts."""
MATRICES = tuple(role for role in ROLES if role not in (*TABLES, *ADAPTERS))
BLOCK_MATRICES = tuple(role for role in IN_BLOCK if role not in ADAPTERS)


def scaled_normal(z: "Tensor", std: float) -> "Tensor":
    """N(0, std^2) from standard normal `z` of any shape."""
    return z * std


def scaled_uniform(z: "Tensor", std: float) -> "Tensor":
    """U(-b, b) of the given std, b = sqrt(3) std, from standard normal `z`: b (2 Phi(z) - 1)."""
    return (z / math.sqrt(2)).erf() * (math.sqrt(3) * std)


def scaled_orthogonal(z: "Tensor", std: float) -> "Tensor":
    """Random semi-orthogonal matrices (Haar measure) from `z` [..., fan_in, fan_out], scaled to rms `std`.

    By a QR decomposition; the signs of R's diagonal make the law uniform. A semi-orthogonal matrix has mean
    square 1 / max(fan_in, fan_out). Saxe et al. 2014, arXiv 1312.6120.
    """
    import torch

    tall = z.double() if z.shape[-2] >= z.shape[-1] else z.double().mT
    q, r = torch.linalg.qr(tall)
    q = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    q = q if z.shape[-2] >= z.shape[-1] else q.mT
    weights: Tensor = (q * (std * math.sqrt(max(z.shape[-2:])))).to(z.dtype)
    return weights


@dataclass(frozen=True)
class Scheme:
    """`std(parameter, sigma)` gives a matrix's std; `sample(z, std)` makes weights of normal z.

    sigma is the std that the run asks for (`std` in params.yaml); z has the shape [..., fan_in, fan_out].
    `std` raises BadInput for a role that the scheme says nothing about.
    """

    std: Std
    sample: Callable[["Tensor", float], "Tensor"] = scaled_normal
    def expected(self, parameter: Parameter, sigma: float) -> float | None:
        """As `std`, but None for a role that the scheme says nothing about."""
        try:
            return self.std(parameter, sigma)
        except BadInput:
            return None


def _matrices(formula: Callable[[Parameter], float], roles: tuple[str, ...] = MATRICES) -> Std:
    """A std function: `formula` for matrices with one of `roles`, and sigma (.02 in GPT-2) for embeddings."""

    def std(parameter: Parameter, sigma: float) -> float:
        if parameter.role in roles:
            return formula(parameter)
        if parameter.role in TABLES:
            return sigma
        raise _no_entry(parameter, (*roles, *TABLES))

    return std


def _no_entry(parameter: Parameter, roles: tuple[str, ...]) -> BadInput:
    expected = f"a scheme with an entry for it, or one of {', '.join(roles)}"
    return BadInput(f"{parameter.name}: role is {parameter.role!r}: expected {expected}")


def normal(p: Parameter, sigma: float) -> float:
    """The same sigma for every matrix."""
    if p.role not in (*MATRICES, *TABLES):
        raise _no_entry(p, (*MATRICES, *TABLES))
    return sigma


def gpt2(p: Parameter, sigma: float) -> float:
    """sigma (.02 in GPT-2), and sigma / sqrt(2 n_layer) where a block writes to the residual stream."""
    return normal(p, sigma) / math.sqrt(2 * p.depth) if p.role in RESIDUAL else normal(p, sigma)


def lir(p: Parameter, sigma: float) -> float:
    """Layer index rescaling: sigma / sqrt(l) in layer l. Owen et al. 2025, arXiv 2503.17500."""
    return normal(p, sigma) / math.sqrt(p.layer) if p.role in BLOCK_MATRICES else normal(p, sigma)


def lecun(p: Parameter) -> float:
    """Variance 1 / fan_in. LeCun et al. 1998, Efficient BackProp."""
    return math.sqrt(1 / p.fan_in)


def xavier(p: Parameter) -> float:
    """Variance 2 / (fan_in + fan_out). Glorot and Bengio 2010, AISTATS."""
    return math.sqrt(2 / (p.fan_in + p.fan_out))


def kaiming(p: Parameter) -> float:
    """Variance 2 / fan_in. He et al. 2015, arXiv 1502.01852."""
    return math.sqrt(2 / p.fan_in)


def kaiming_fan_out(p: Parameter) -> float:
    """Variance 2 / fan_out: keeps the backward signal. He et al. 2015, arXiv 1502.01852."""
    return math.sqrt(2 / p.fan_out)


def xavier_sqrt2(p: Parameter) -> float:
    """A control for Kaiming: Xavier times sqrt 2, but Kaiming's std in the first and last layer of an MLP.

    There is one division under the root, so that a square layer gets Kaiming's std to the last bit.
    """
    shared = p.role in (*DENSE, "conv") and (p.layer in (1, p.depth))
    return kaiming(p) if shared else math.sqrt(4 / (p.fan_in + p.fan_out))


def torch_default(p: Parameter) -> float:
    """Variance 1 / (3 fan_in): torch.nn.Linear draws U(-b, b) with b = 1 / sqrt(fan_in)."""
    return math.sqrt(1 / (3 * p.fan_in))


def orthogonal(p: Parameter) -> float:
    """Rms of a semi-orthogonal matrix with gain sqrt 2. Saxe et al. 2014, arXiv 1312.6120."""
    return math.sqrt(2 / max(p.fan_in, p.fan_out))


def small(p: Parameter) -> float:
    """Variance 2 / (5 d), d the model's width. Nguyen and Salazar 2019, arXiv 1910.05895."""
    return math.sqrt(2 / (5 * min(p.fan_in, p.fan_out)))


def ds_init(p: Parameter) -> float:
    """Depth-scaled: Xavier / sqrt(l) in layer l. Zhang, Titov and Sennrich 2019, arXiv 1908.11365."""
    return xavier(p) / math.sqrt(p.layer)


def mup(p: Parameter) -> float:
    """Spectral condition: min(1, sqrt(fan_out / fan_in)) / sqrt(fan_in). Yang et al., arXiv 2310.17813."""
    return min(1.0, math.sqrt(p.fan_out / p.fan_in)) / math.sqrt(p.fan_in)


SCHEMES: dict[str, Scheme] = {
    "normal": Scheme(normal),
    "lecun": Scheme(_matrices(lecun)),
    "xavier": Scheme(_matrices(xavier)),
    "xavier_sqrt2": Scheme(_matrices(xavier_sqrt2)),
    "kaiming": Scheme(_matrices(kaiming)),
    "kaiming_fan_out": Scheme(_matrices(kaiming_fan_out)),
    "torch_default": Scheme(_matrices(torch_default), scaled_uniform),
    "orthogonal": Scheme(_matrices(orthogonal), scaled_orthogonal),
    "gpt2": Scheme(gpt2),
    "small": Scheme(_matrices(small, BLOCK_MATRICES)),
    "ds_init": Scheme(_matrices(ds_init, BLOCK_MATRICES)),
    "lir": Scheme(lir),
    "mup": Scheme(_matrices(mup)),
}


OTHER_NAMES = {"he": "kaiming", "glorot": "xavier", "pytorch": "torch_default", "default": "torch_default",
               "bert": "normal", "llama": "normal", "spectral": "mup"}
"""What people call a scheme -> its name here."""


def scheme_named(name: str) -> Scheme:
    """The entry of SCHEMES. Raises BadInput for an unknown name, with the nearest known one."""
    check_name("scheme", name, SCHEMES, OTHER_NAMES)
    return SCHEMES[name]
