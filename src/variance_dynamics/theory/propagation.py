"""The variance of signals and gradients in a fully connected ReLU network at initialisation.

`sizes` = [n_0, ..., n_L]: inputs, hidden widths and outputs of a network of L weight layers; layer l (counted
from 1) has fan-in n_(l-1) and fan-out n_l. `stds` is the weight std s_l of each layer [L], or one for all.
Weights are independent with mean 0, biases are 0, and the last layer is linear. q_l = E[z_l^2] is the second
moment of layer l's pre-activations. A ReLU passes half of it on, E[relu(z)^2] = q / 2, and half of the
squared gradient: so everything here is exact at any width. Other activations are not covered.
Sources: He 2015 (1502.01852), Poole 2016 (1606.05340), Schoenholz 2017 (1611.01232).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from variance_dynamics.base.errors import BadInput

RELU_GAIN = 0.5
"""E[relu(z)^2] / E[z^2] for a symmetric z; the same for the slope, E[relu'(z)^2]."""


def critical_std(fan_in: int) -> float:
    """The weight std that keeps the second moment of a ReLU layer: fan_in std^2 / 2 = 1."""
    return 1 / math.sqrt(fan_in * RELU_GAIN)


def forward_second_moment(sizes: Sequence[int], stds: Sequence[float] | float,
                          input_second_moment: float = 1.0) -> list[float]:
    """q_l of each weight layer [L], averaged over initialisations.

    q_1 = n_0 s_1^2 E[x^2] and q_(l+1) = n_l s_(l+1)^2 q_l / 2. Raises BadInput for stds that do not fit.
    """
    moments = [input_second_moment]
    for layer, (fan_in, std) in enumerate(zip(sizes, _layer_stds(sizes, stds), strict=False)):
        passed_on = RELU_GAIN if layer else 1.0
        moments.append(fan_in * std**2 * passed_on * moments[-1])
    return moments[1:]


def _layer_stds(sizes: Sequence[int], stds: Sequence[float] | float) -> list[float]:
    layers = len(sizes) - 1
    each = [float(stds)] * layers if isinstance(stds, int | float) else [float(std) for std in stds]
    if layers < 1 or len(each) != layers:
        raise BadInput(f"{len(each)} stds for sizes {list(sizes)}: expected one, or one per weight layer")
    return each


def gradient_norm(sizes: Sequence[int], stds: Sequence[float] | float, input_second_moment: float = 1.0,
                  error: float = 1.0) -> list[float]:
    """|d loss / d W_l| of each weight layer [L] for one sample: root mean square over initialisations.

    `error` is the norm of d loss / d logits: sqrt(1 - 1/K) where all K classes are equally likely. Its
    direction is taken as independent of the weights. Then |.|^2 = error^2 q_L / s_l^2, because the layers
    before l multiply the signal, the layers after l multiply the gradient, and both factors together are q_L
    without layer l's own s_l^2. The mean gradient of a minibatch is shorter, as its samples share only a part
    of it (see sgd_band.signal).
    """
    logits = math.sqrt(forward_second_moment(sizes, stds, input_second_moment)[-1])
    return [error * logits / std for std in _layer_stds(sizes, stds)]


def natural_axis(std: float, sizes: Sequence[int], input_second_moment: float = 1.0) -> float:
    """a = std (prod g_l)^(1/2L) with g_1 = n_0 E[x^2] and g_l = n_(l-1) / 2, for one std in all layers.

    It is the geometric mean over layers of the gain in rms, so that networks of one depth compare at any
    width. The rms of the logits is a^L.
    """
    factors = [sizes[0] * input_second_moment, *(width / 2 for width in sizes[1:-1])]
    return float(std * np.exp(np.mean(np.log(factors)) / 2))


class SchemeRatio(NamedTuple):
    """A network drawn by Kaiming (2 / fan_in) over the same drawn by Xavier (2 / (fan_in + fan_out)).

    logits: ratio of the logits' rms. loss_rate: ratio of the loss's first decrease under SGD, which is
    sum_l |d loss / d W_l|^2 where all classes are equally likely.
    """

    logits: float
    loss_rate: float


def kaiming_xavier_ratio(sizes: Sequence[int]) -> SchemeRatio:
    """The logits' ratio is prod_l sqrt(1 + fan_out / fan_in): 2^(L/2) at constant width.

    The loss rate's is 2^(L-1) at constant width. He 2015 (1502.01852), Glorot and Bengio 2010.
    """
    fans = list(pairwise(sizes))
    kaiming = [math.sqrt(2 / fan_in) for fan_in, _ in fans]
    xavier = [math.sqrt(2 / (fan_in + fan_out)) for fan_in, fan_out in fans]
    logits = math.sqrt(math.prod(1 + fan_out / fan_in for fan_in, fan_out in fans))
    rates = [sum(norm**2 for norm in gradient_norm(sizes, stds)) for stds in (kaiming, xavier)]
    return SchemeRatio(logits, rates[0] / rates[1])
