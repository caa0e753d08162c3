"""Forward and backward variance of a fully connected network at initialisation, from its sizes and stds.

`sizes` = [n_0, ..., n_L]: inputs, hidden widths, outputs, of L weight layers; layer l (counted from 1) has
fan-in n_(l-1) and fan-out n_l. `stds`: weight std of each layer [L], or one for all. Weights are independent
with mean 0, biases 0, the last layer linear. A layer's pre-activation second moment is q_l = E[z_l^2].
Sources: He 2015 (1502.01852), Poole 2016 (1606.05340), Schoenholz 2017 (1611.01232).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from variance_dynamics.base.errors import BadInput

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Activation:
    """phi and its slope, elementwise; homogeneous if phi(c z) = c phi(z) for c > 0: gains are constants."""

    value: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    homogeneous: bool


GELU = (math.sqrt(2 / math.pi), 0.044715)
"""GPT-2's GELU is z (1 + tanh(a (z + b z^3))) / 2."""


def _gelu_tanh(z: Floats) -> Floats:
    t: Floats = np.tanh(GELU[0] * (z + GELU[1] * z**3))
    return t


def _gelu_slope(z: Floats) -> Floats:
    t = _gelu_tanh(z)
    slope: Floats = 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * GELU[0] * (1 + 3 * GELU[1] * z**2)
    return slope


ACTIVATIONS = {
    "linear": Activation(lambda z: z, np.ones_like, homogeneous=True),
    "relu": Activation(lambda z: np.maximum(z, 0), lambda z: np.heaviside(z, 0.5), homogeneous=True),
    "gelu": Activation(lambda z: 0.5 * z * (1 + _gelu_tanh(z)), _gelu_slope, homogeneous=False),
}


@cache
def _normal_grid() -> tuple[Floats, Floats]:
    """Points and weights of the trapezoidal rule under the standard normal; none at 0, ReLU's kink."""
    z = np.linspace(-10, 10, 8000)
    weight = np.exp(-(z**2) / 2)
    return z, weight / weight.sum()


@cache
def gain(activation: str = "relu", second_moment: float = 1.0) -> float:
    """E[phi(z)^2] / q for z ~ N(0, q): linear 1 and ReLU 1/2 at any q; GELU 1/4 at 0, .425 at 1, to 1/2."""
    phi, scale = _scaled(activation, second_moment)
    z, weight = _normal_grid()
    return float(weight @ phi.value(scale * z) ** 2 / scale**2)


@cache
def slope_gain(activation: str = "relu", second_moment: float = 1.0) -> float:
    """E[phi'(z)^2] for z ~ N(0, q): linear 1 and ReLU 1/2 at any q; GELU 1/4 at 0, .456 at 1, to 1/2."""
    phi, scale = _scaled(activation, second_moment)
    z, weight = _normal_grid()
    return float(weight @ phi.slope(scale * z) ** 2)


def _scaled(activation: str, second_moment: float) -> tuple[Activation, float]:
    if activation not in ACTIVATIONS:
        raise BadInput(f"activation is {activation!r}: expected one of {', '.join(ACTIVATIONS)}")
    if not second_moment >= 0:
        raise BadInput(f"second moment is {second_moment}: expected 0 or more")
    phi = ACTIVATIONS[activation]
    # A second moment too small or large for the quadrature has the gain of the limit.
    return phi, 1.0 if phi.homogeneous else float(np.sqrt(np.clip(second_moment, 1e-12, 1e6)))


def critical_std(fan_in: int, activation: str = "relu", second_moment: float = 1.0) -> float:
    """Weight std that keeps a pre-activation second moment q: fan_in std^2 gain(q) = 1.

    ReLU: sqrt(2 / fan_in) at any q. GELU's depends on q, as it is not homogeneous.
    """
    return float(1 / np.sqrt(fan_in * gain(activation, second_moment)))


def depth_scale(std: float, fan_in: int, activation: str = "relu") -> float:
    """xi = 1 / |ln(fan_in std^2 gain)|: layers over which q changes e-fold; infinite at the critical std.

    1611.01232. For GELU with its gain at q = 1, so only near q = 1.
    """
    rate = abs(float(np.log(fan_in * std**2 * gain(activation))))
    return 1 / rate if rate > 1e-12 else float("inf")


def layer_stds(sizes: Sequence[int], stds: Sequence[float] | float) -> list[float]:
    """One std per weight layer of `sizes`."""
    layers = len(sizes) - 1
    each = [float(stds)] * layers if isinstance(stds, int | float) else [float(std) for std in stds]
    if layers < 1 or len(each) != layers:
        raise BadInput(f"{len(each)} stds for sizes {list(sizes)}: expected one, or one per weight layer")
    return each


def forward_second_moment(sizes: Sequence[int], stds: Sequence[float] | float,
                          input_second_moment: float = 1.0, activation: str = "relu") -> list[float]:
    """q_l of each weight layer [L], averaged over initialisations.

    q_1 = n_0 s_1^2 E[x^2], q_(l+1) = n_l s_(l+1)^2 gain(q_l) q_l. Exact at any width for linear and ReLU;
    GELU's takes z as normal.
    """
    moments = [input_second_moment]
    for layer, (fan_in, std) in enumerate(zip(sizes, layer_stds(sizes, stds), strict=False)):
        passed = gain(activation, moments[-1]) if layer else 1.0
        moments.append(fan_in * std**2 * passed * moments[-1])
    return moments[1:]


def backward_second_moment(sizes: Sequence[int], stds: Sequence[float] | float,
                           input_second_moment: float = 1.0, activation: str = "relu",
                           output_second_moment: float = 1.0) -> list[float]:
    """b_l = E[(d loss / d z_l)^2] of each weight layer [L], from b_L = output_second_moment.

    b_l = n_(l+1) s_(l+1)^2 slope_gain(q_l) b_(l+1). The gradient is taken as independent of the weights
    (1611.01232); for linear and ReLU and a fixed direction in the outputs that is exact.
    """
    moments = forward_second_moment(sizes, stds, input_second_moment, activation)
    each, found = layer_stds(sizes, stds), [output_second_moment]
    for layer in range(len(each) - 1, 0, -1):
        slope = slope_gain(activation, moments[layer - 1])
        found.append(sizes[layer + 1] * each[layer] ** 2 * slope * found[-1])
    return found[::-1]


def gradient_norm(sizes: Sequence[int], stds: Sequence[float] | float, input_second_moment: float = 1.0,
                  activation: str = "relu", error: float = 1.0) -> list[float]:
    """Root mean square over initialisations of |d loss / d W_l| for one sample, each weight layer [L].

    error: norm of d loss / d logits; sqrt(1 - 1/K) where all K classes are equally likely. |.|^2 =
    n_l b_l n_(l-1) E[h_(l-1)^2]; for ReLU and linear it is error^2 q_L / s_l^2 in every layer. A minibatch's
    mean gradient is shorter by what its samples do not share (see bands.signal).
    """
    moments = forward_second_moment(sizes, stds, input_second_moment, activation)
    slopes = backward_second_moment(sizes, stds, input_second_moment, activation, error**2 / sizes[-1])
    each = layer_stds(sizes, stds)
    return [float(np.sqrt(sizes[layer + 1] * slopes[layer] * moments[layer])) / each[layer]
            for layer in range(len(each))]


def natural_axis(std: float, sizes: Sequence[int], input_second_moment: float = 1.0) -> float:
    """a = std (prod g_l)^(1/2L) with g_1 = n_0 E[x^2] and g_l = n_(l-1) / 2, for ReLU and one std.

    The layers' geometric mean gain in rms, so that networks of one depth compare at any width: the logits'
    rms is a^L.
    """
    factors = [sizes[0] * input_second_moment, *(width / 2 for width in sizes[1:-1])]
    return float(std * np.exp(np.mean(np.log(factors)) / 2))


class SchemeRatio(NamedTuple):
    """Kaiming (2 / fan_in) over Xavier (2 / (fan_in + fan_out)) in a ReLU network.

    variance: of the weights, per layer [L]; logits: of their rms; loss_rate: of the loss's first decrease
    under SGD, sum |d loss / d W|^2, where all classes are equally likely.
    """

    variance: list[float]
    logits: float
    loss_rate: float


def kaiming_xavier_ratio(sizes: Sequence[int]) -> SchemeRatio:
    """1 + fan_out / fan_in per layer; their product's square root for the logits: 2^(L/2) at constant width.

    The loss rate is 2^(L-1) at constant width. 1502.01852 and Glorot and Bengio 2010; mostly geometry.
    """
    fans = list(pairwise(sizes))
    kaiming = [np.sqrt(2 / fan_in) for fan_in, _ in fans]
    xavier = [np.sqrt(2 / (fan_in + fan_out)) for fan_in, fan_out in fans]
    variance = [1 + fan_out / fan_in for fan_in, fan_out in fans]
    rates = [sum(norm**2 for norm in gradient_norm(sizes, stds)) for stds in (kaiming, xavier)]
    return SchemeRatio(variance, math.sqrt(math.prod(variance)), rates[0] / rates[1])
