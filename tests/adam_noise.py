"""Raw GPT-2 tables from simulated AdamW in float64: matrices whose gradients are noise of a known kind."""

from functools import cache

import numpy as np
import pandas as pd

WINDOWS = (10, 100)
KNOBS = {"weight_decay": 0.1, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "std": 0.02}


def white(rng, start, shape):
    return rng.normal(size=shape)


def sparse(share):
    """A gradient that is there in a share of the updates only."""
    return lambda rng, start, shape: rng.normal(size=shape) * (rng.random(shape) < share)


def echo(strength):
    """Noise that the next update repeats, or takes back (strength < 0): D = (1 + s)^2 / (1 + s^2)."""
    before = np.zeros(1)

    def gradient(rng, start, shape):
        nonlocal before
        fresh = rng.normal(size=shape)
        before, now = fresh, fresh + strength * before
        return now
    return gradient


def steady(strength):
    """Noise around a direction that stays, of `strength` noise stds, independent of the weights."""
    return lambda rng, start, shape: rng.normal(size=shape) + strength * _direction(shape)


@cache
def _direction(elements):
    return np.random.default_rng(99).normal(size=elements)


def aligned(strength):
    """Noise and a pull that grows (strength > 0) or shrinks the initial weights."""
    return lambda rng, start, shape: rng.normal(size=shape) - strength * start / start.std()


def run(arm="gpt2", seed=0, steps=300, lr=1e-3, gradients=None, roles=("q", "k", "v"), layers=4,
        elements=2500, std=0.02, **knobs):
    """Frames and run.json's knobs of one (arm, seed).

    `lr` is a number or an array [steps]; gradients(layer, role) gives the kind of noise (white if None).
    """
    knobs = {**KNOBS, **knobs, "std": std}
    rates = np.broadcast_to(np.asarray(lr, dtype=float), steps)
    places = [(layer, role) for layer in range(1, layers + 1) for role in roles]
    kinds = [gradients(*place) if gradients else white for place in places]
    weights = simulate(places, kinds, rates, knobs, np.random.default_rng([seed, steps]), elements)
    ids = {"arm": arm, "seed": seed}
    updates = np.arange(steps)
    losses = pd.DataFrame({"step": updates, "stat": "lr", "value": rates})
    falling = pd.DataFrame({"step": updates, "stat": "train_loss", "value": 8 - updates / steps + seed})
    val = pd.DataFrame([(steps, "val_loss", 7.0 + seed + 10 * std)], columns=["step", "stat", "value"])
    activations = pd.DataFrame([(s, layer, "second_moment", 1.0 + layer + 0.1 * seed) for s in (0, steps)
                                for layer in range(layers + 1)], columns=["step", "layer", "stat", "value"])
    histograms = pd.DataFrame([(s, 1, "q", left, left + 0.5, 10 * (left + 2)) for s in (0, steps)
                               for left in (-1.0, -0.5, 0.0, 0.5)],
                              columns=["step", "layer", "role", "left", "right", "count"])
    frames = {"weights": weights, "losses": pd.concat([losses, falling, val]), "activations": activations,
              "histograms": histograms}
    return ({name: frame.assign(**ids) for name, frame in frames.items()},
            {**ids, **knobs, "n_layer": layers, "n_embd": 64, "steps": steps, "lr": float(rates.max())})


def together(*runs):
    """Frames of several runs, concatenated, and the list of their knobs."""
    names = runs[0][0]
    return ({name: pd.concat([frames[name] for frames, _ in runs], ignore_index=True) for name in names},
            [knobs for _, knobs in runs])


def dump_steps(steps):
    return sorted({*range(min(steps, 20) + 1), *range(0, steps + 1, 25), steps})


def simulate(places, kinds, rates, knobs, rng, elements):
    """AdamW on [places, elements] weights; the long table of a tracker's measurements."""
    b1, b2, eps, decay = knobs["beta1"], knobs["beta2"], knobs["eps"], knobs["weight_decay"]
    start = knobs["std"] * rng.normal(size=(len(places), elements))
    w, m, v = start.copy(), np.zeros_like(start), np.zeros_like(start)
    anchors = {**dict.fromkeys(map(str, WINDOWS), start.copy()), "init": start.copy()}
    dumps, rows = set(dump_steps(len(rates))), []

    def record(step, stats):
        rows.extend((step, *place, stat, value) for stat, values in stats.items()
                    for place, value in zip(places, values, strict=True))

    record(0, spread(w))
    for step, rate in enumerate(rates, start=1):
        g = np.stack([kind(rng, s, elements) for kind, s in zip(kinds, start, strict=True)])
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        u = (m / (1 - b1**step)) / (np.sqrt(v / (1 - b2**step)) + eps)
        w = (1 - rate * decay) * w - rate * u
        if step in dumps:
            record(step, {**spread(w), "update_rms": np.sqrt((u**2).mean(1)),
                          "grad_kurtosis": (g**4).mean(1) / (g**2).mean(1) ** 2 - 3,
                          "epsilon_share": np.full(len(places), 1e-6), "grad_norm": np.sqrt((g**2).sum(1))})
        for name in [n for n in anchors if (step in dumps if n == "init" else step % int(n) == 0)]:
            moved = w - anchors[name]
            record(step, {f"delta_ms_{name}": (moved**2).mean(1),
                          f"delta_dot_{name}": (anchors[name] * moved).mean(1)})
            if name != "init":
                anchors[name] = w.copy()
    return pd.DataFrame(rows, columns=["step", "layer", "role", "stat", "value"])


def spread(w):
    return {"std": w.std(1), "rms": np.sqrt((w**2).mean(1))}

