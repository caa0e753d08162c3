"""Torch's optimizers, and Lion, in float64 on gradients of white noise, beside their laws."""

import numpy as np
import torch

from lion import Lion
from variance_dynamics.base.schedules import learning_rate
from variance_dynamics.theory.laws import law_of

SQUARE, TALL, WIDE = (96, 96), (192, 48), (48, 192)
CASES = {
    "adamw": ("adamw", lambda p: torch.optim.AdamW(p, betas=(0.9, 0.95)), SQUARE, 1e-2, 0.5),
    "adam": ("adam", lambda p: torch.optim.Adam(p), SQUARE, 1e-2, 0.0),
    "lion": ("lion", lambda p: Lion(p), SQUARE, 1e-3, 2.0),
    "muon": ("muon", lambda p: torch.optim.Muon(p), SQUARE, 2e-2, 0.2),
    "muon, 4:1": ("muon", lambda p: torch.optim.Muon(p), TALL, 2e-2, 0.2),
    "muon, 1:4, adjusted": ("muon", lambda p: torch.optim.Muon(p, adjust_lr_fn="match_rms_adamw"), WIDE, 5e-3,
                            0.5),
    "adafactor": ("adafactor", lambda p: torch.optim.Adafactor(p), SQUARE, 1e-2, 0.02),
}


def cosine(peak, steps, lowest=0.1):
    return np.array([learning_rate(step, peak, "cosine", 20, steps, lowest) for step in range(steps)])


def simulated(make, shape, lr, decay, start, seed=0):
    """Rms of a matrix [T+1] that torch's optimizer trains in float64 on gradients of white noise."""
    torch.set_num_threads(1)
    draws = torch.Generator().manual_seed(seed)
    weight = torch.nn.Parameter(start * torch.randn(shape, generator=draws, dtype=torch.float64))
    optimizer = make([weight])
    rms = [weight.detach().square().mean().sqrt().item()]
    for rate, wd in zip(lr, np.broadcast_to(decay, len(lr)), strict=True):
        optimizer.param_groups[0].update(lr=float(rate), weight_decay=float(wd))
        weight.grad = torch.randn(shape, generator=draws, dtype=torch.float64)
        optimizer.step()
        rms.append(weight.detach().square().mean().sqrt().item())
    return np.array(rms)


def error(case, steps, start=0.02, seed=0):
    name, make, shape, lr, decay = CASES[case]
    rates = cosine(lr, steps)
    measured = simulated(make, shape, rates, decay, start, seed)
    adjusted = "match_rms_adamw" if "adjusted" in case else "original"
    return np.log(law_of(name, decay, shape, adjusted).std(measured[0], rates, decay) / measured)
