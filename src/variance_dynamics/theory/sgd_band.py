"""Which initial stds train a ReLU network of L weight layers under SGD: both edges, with no fitted number.

The first step changes a layer's pre-activations by r times their own size (for one sample with error 1):

    r = lr |d logits / d W_l| / (s sqrt(n_l)) = lr G a^(L-2) / sqrt(n),   G = (prod g_l)^(1/L), a = s sqrt(G)

with g_l of propagation.natural_axis. The std is too large where r = 1: the step is as large as what it
corrects. It is too small where training takes too long: samples share only a part m (see `signal`) of one
gradient's size, and a layer grows as fast as the L - 1 others let it, d rho / dt = m r (1 + rho)^(L-1)
(escape from the saddle at 0; for linear networks 1312.6120), until a (1 + rho) = 1. Hence

    a_upper^(L-2) = 1 / R,   a_lower^-(L-2) = 1 + (L-2) m R steps,   R = lr G / sqrt(n)

so both edges fall as width^-1/2. The lr moves the band and hardly changes its width, which is about
ln((L-2) m steps) / (L-2) in ln std. At L = 2 r does not depend on the std: there is no upper edge, and
a_lower = exp(-m R steps).

Compared with training on wine, digits and MNIST, widths 64 and 256, lr .0125 to .2: from L = 3 to 10 the
lower edge is right within a factor of 1.1 (wine) or 1.4 (digits, MNIST). The upper edge comes out too low, by
a factor of up to 4 at L = 3, 2 at 4, 1.5 at 6 and 1.3 at 8 (1.4 to 5 in r). At L = 2 the lower edge is right
within 4; the upper one lies where large initial logits are not unlearned within the steps. The condition
lr * largest curvature = 2 at init (a = 2, 1.3, 1.1, 1.05 at L = 3, 4, 6, 8; never at 2) is no edge: networks
train far beyond it. Momentum and Adam are not covered: their steps do not scale with the gradient.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variance_dynamics.base.errors import BadInput
from variance_dynamics.theory.propagation import natural_axis

Floats = NDArray[np.float64]
PASSES = 30
"""Iterations that the largest eigenvalue is computed with."""


def band_edges(sizes: Sequence[int], lr: float, steps: int, signal: float,
               input_second_moment: float = 1.0) -> tuple[float, float]:
    """Smallest and largest std that train in `steps` of SGD; the upper one is infinite at L = 2.

    signal: m of the data, from `signal`. Hidden widths that differ enter by their geometric mean.
    """
    beyond = len(sizes) - 3
    if beyond < 0 or not (lr > 0 and steps > 0 and 0 < signal <= 1):
        raise BadInput(f"band of sizes {list(sizes)}, lr {lr}, {steps} steps, signal {signal}: expected two "
                       "weight layers or more, lr and steps above 0, signal in (0, 1]")
    unit = natural_axis(1.0, sizes, input_second_moment)
    ratio = lr * unit**2 / float(np.exp(np.mean(np.log(sizes[1:-1])) / 2))
    if not beyond:
        return float(np.exp(-signal * ratio * steps)) / unit, float("inf")
    lower = (1 + beyond * signal * ratio * steps) ** (-1 / beyond)
    return float(lower) / unit, float(ratio ** (-1 / beyond)) / unit


def signal(inputs: ArrayLike, labels: ArrayLike, depth: int) -> float:
    """m: how much of one sample's gradient all samples share, between 0 and 1; geometric mean over layers.

    inputs [N, n_0], labels [N] of classes 0..K-1. It is the largest singular value of the samples' mean
    gradient over the norm of one sample's gradient at error 1, at infinite width, where all classes are
    equally likely. What samples share shrinks with depth by the arc-cosine kernels of ReLU (Cho and Saul
    2009; 1606.05340): the cosine c of two signals becomes k1(c) for activations and k0(c) for slopes. Few
    samples share more by chance: take 500 or more where the data have them. Takes time N^2.
    """
    x, classes = np.asarray(inputs, dtype=np.float64), np.asarray(labels)
    if x.ndim != 2 or classes.shape != x.shape[:1] or depth < 1:
        raise BadInput(f"signal of inputs {x.shape}, labels {classes.shape}, depth {depth}: expected "
                       "[N, features], [N] and 1 or more")
    norms = np.sqrt((x**2).sum(axis=1)).clip(min=1e-30)
    cosines = [(x @ x.T) / np.outer(norms, norms)]
    for _ in range(depth - 1):
        cosines.append(_activations_cosine(cosines[-1]))
    sizes = np.outer(norms, norms) / np.mean(norms**2)
    errors = 1 / (classes.max() + 1) - np.eye(classes.max() + 1)[classes]
    backward, squares = errors @ errors.T, []
    for layer in reversed(range(depth)):
        squares.append(_largest_eigenvalue(backward, cosines[layer] * sizes, errors))
        backward = backward * _slopes_cosine(cosines[layer - 1])
    return float(np.exp(np.mean(np.log(squares)) / 2) / len(x))


def _activations_cosine(c: Floats) -> Floats:
    """k1: the cosine of two samples' activations from that of their pre-activations."""
    angle = np.arccos(np.clip(c, -1, 1))
    return np.asarray((np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi)


def _slopes_cosine(c: Floats) -> Floats:
    """k0: the same of the ReLU's slopes."""
    return np.asarray(1 - np.arccos(np.clip(c, -1, 1)) / np.pi)


def _largest_eigenvalue(first: Floats, second: Floats, start: Floats) -> float:
    """Largest eigenvalue of the product of two positive semi-definite matrices, by subspace iteration."""
    basis = start
    for _ in range(PASSES):
        basis = np.linalg.qr(first @ (second @ basis))[0]
    return float(np.linalg.eigvals(basis.T @ first @ (second @ basis)).real.max())
