"""Laws that values are drawn from: normal, uniform, truncated normal, orthogonal, or all the same.

A law is numbers alone, so that what is drawn by it can be judged by it. Importing this module needs no torch.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from variance_dynamics.weights.parameter import TABLES, Parameter
from variance_dynamics.weights.schemes import Scheme, scaled_normal, scaled_orthogonal, scaled_uniform

if TYPE_CHECKING:
    from torch import Tensor

NORMAL, UNIFORM, TRUNCATED, ORTHOGONAL, CONSTANT, ANY = LAWS = (
    "normal", "uniform", "truncated", "orthogonal", "constant", "any")
"""Kinds of laws. "any" allows every value: the recipe leaves the parameter as it is."""


@dataclass(frozen=True)
class Law:
    """`std` and `mean` are those of the values; `cut` is where a truncated normal ends, in units of the std
    of the normal that is cut. With `any_shape`, draws of another kind with this std are as good.
    """

    kind: str
    std: float = 0.0
    mean: float = 0.0
    cut: float = math.inf
    any_shape: bool = False

    @property
    def bound(self) -> float:
        """No draw lies further from the mean than this."""
        if self.kind == UNIFORM:
            return math.sqrt(3) * self.std
        return self.cut * self.std / truncated_std(self.cut) if self.kind == TRUNCATED else math.inf

    @property
    def kurtosis(self) -> float:
        """Excess kurtosis of the draws."""
        return {UNIFORM: -1.2, TRUNCATED: truncated_kurtosis(self.cut)}.get(self.kind, 0.0)

    def __str__(self) -> str:
        if self.kind == CONSTANT:
            return f"all {self.mean:.6g}"
        cut = f" cut at {self.cut:g} std" if self.kind == TRUNCATED else ""
        return self.kind if self.kind == ANY else f"{self.kind}{cut}, std {self.std:.5g}"


def constant(value: float) -> Law:
    """All values are this one."""
    return Law(CONSTANT, 0.0, value)


def truncated(std: float, cut: float) -> Law:
    """A normal of this std that is cut at `cut` std, so that its values have a lower std."""
    return Law(TRUNCATED, std * truncated_std(cut), cut=cut)


def law_of_scheme(scheme: Scheme, parameter: Parameter, std: float) -> Law:
    """What a scheme draws a matrix from.

    Embeddings are normal: a scheme's sampler is for layers that multiply.
    """
    kinds: dict[object, str] = {scaled_uniform: UNIFORM, scaled_orthogonal: ORTHOGONAL}
    return Law(NORMAL if parameter.role in TABLES else kinds.get(scheme.sample, NORMAL), std)


def truncated_std(cut: float) -> float:
    """Std of a standard normal that is cut at +-cut: .8796 at 2, .9866 at 3; 1 where it is not cut."""
    return math.sqrt(_truncated_moments(cut)[0])


def truncated_kurtosis(cut: float) -> float:
    """Excess kurtosis of a normal that is cut at +-cut std."""
    second, fourth = _truncated_moments(cut)
    return fourth / second**2 - 3


def _truncated_moments(cut: float) -> tuple[float, float]:
    """The second and the fourth moment of a standard normal that is cut at +-cut, by parts."""
    if math.isinf(cut):
        return 1.0, 3.0
    normal = NormalDist()
    edge = 2 * normal.pdf(cut) / (normal.cdf(cut) - normal.cdf(-cut))
    second = 1 - cut * edge
    return second, 3 * second - cut**3 * edge


def sample(law: Law, z: "Tensor") -> "Tensor":
    """Values by `law` from standard normal `z` [..., fan_in, fan_out]."""
    if law.kind == CONSTANT:
        return z.new_full(z.shape, law.mean)
    if law.kind == TRUNCATED:
        return _cut_normal(z, law)
    draw = {NORMAL: scaled_normal, UNIFORM: scaled_uniform, ORTHOGONAL: scaled_orthogonal}[law.kind]
    values = draw(z, law.std)
    return values + law.mean if law.mean else values


def _cut_normal(z: "Tensor", law: Law) -> "Tensor":
    """The cut normal's quantile at Phi(z), in double precision."""
    inside = math.erf(law.cut / math.sqrt(2))
    share = (z.double() / math.sqrt(2)).erf() * inside
    values = (share.erfinv() * math.sqrt(2)).clamp(-law.cut, law.cut)
    cut: Tensor = (values * (law.std / truncated_std(law.cut))).to(z.dtype)
    return cut
