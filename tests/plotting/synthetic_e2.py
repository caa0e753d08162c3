"""E2's analysis tables, made of formulas."""

import itertools

import numpy as np

from plotting.synthetic_e1 import STDS, e1_layers
from plotting.synthetic_rows import table

SCHEMES = ("xavier", "kaiming", "lecun", "torch_default", "orthogonal", "xavier_sqrt2")


def speed(optimizer, depth, scheme):
    slow = {"xavier": 1.8, "lecun": 2.2, "torch_default": 3.5, "orthogonal": 0.9}.get(scheme, 1.0)
    return 15 * slow ** (depth / 6) * {"sgd": 1.5, "momentum": 1.0, "adamw": 0.5}[optimizer]


def comparisons(datasets):
    return itertools.product(datasets, ("sgd", "momentum", "adamw"), (3, 10, 20), SCHEMES, ("shared", "best"))


def e2_layers(datasets, n):
    rows = e1_layers(datasets, n).query("width == 64")
    names = dict(zip(STDS, SCHEMES, strict=False))
    return rows[rows["std"].isin(names)].assign(scheme=rows["std"].map(names), depth=rows.depth + 1)


def e2_curves(datasets, n):
    rows = []
    for dataset, optimizer, depth, scheme, kind in comparisons(datasets):
        rate, chance = speed(optimizer, depth, scheme), np.log(3 if dataset == "wine" else 10)
        for step in range(0, 301, 20):
            loss = chance * np.exp(-step / rate) + 0.02
            for stat, value in (("train_loss", loss), ("val_loss", loss * 1.1),
                                ("val_accuracy", np.exp(-loss))):
                rows.append((dataset, optimizer, depth, scheme, 0.01, kind, step, stat, value, value * 0.9,
                             value * 1.1, n))
    return table(rows, "dataset optimizer depth scheme lr lr_kind step stat mean lo hi n")


def e2_threshold(datasets, n):
    rows = []
    for dataset, optimizer, depth, scheme, kind in comparisons(datasets):
        steps = min(speed(optimizer, depth, scheme) * np.log(2) * (1 if kind == "shared" else 0.7), 300)
        rows.append((dataset, optimizer, depth, scheme, kind, 0.01, steps, steps * 0.9,
                     min(steps * 1.1, 300), n, n if steps >= 300 else int(steps > 150)))
    return table(rows, "dataset optimizer depth scheme lr_kind lr steps lo hi n censored")


def e2_lr(datasets, n):
    rows = []
    schemes = itertools.product(datasets, ("sgd", "momentum", "adamw"), (3, 10, 20), SCHEMES)
    for dataset, optimizer, depth, scheme in schemes:
        for lr in (0.001, 0.01, 0.1):
            loss = 1 + 0.3 * abs(np.log10(lr / 0.01)) + 0.01 * depth
            rows.append((dataset, optimizer, depth, scheme, lr, loss, loss * 0.9, loss * 1.1,
                         0.6, 0.4, 0.8, n, lr == 0.01, False, lr == 0.1))
    return table(rows, "dataset optimizer depth scheme lr val_loss val_loss_lo val_loss_hi share_trains "
                       "share_trains_lo share_trains_hi n best at_grid_end shared")


def e2_gap(datasets, n):
    rows = []
    cells = itertools.product(datasets, ("sgd", "momentum", "adamw"), (3, 10, 20), ("shared", "best"))
    for dataset, optimizer, depth, kind in cells:
        effect = np.log(speed(optimizer, depth, "kaiming") / speed(optimizer, depth, "xavier"))
        for measure, scale in (("ln_steps_ratio", 1), ("test_accuracy", -0.1), ("spread", 0.05)):
            value = effect * scale
            rows.append((dataset, optimizer, depth, kind, measure, value, value - 0.1, value + 0.1, n,
                         0, n // 2 if depth == 10 else 0, 0, depth == 20 and kind == "best",
                         effect * depth if measure == "ln_steps_ratio" else np.nan))
    return table(rows, "dataset optimizer depth lr_kind measure effect lo hi n censored_kaiming "
                       "censored_xavier censored excluded predicted")


def e2_contrasts(datasets, n):
    rows = []
    for dataset, optimizer, depth, scheme, kind in comparisons(datasets):
        effect = np.log(speed(optimizer, depth, scheme) / speed(optimizer, depth, "kaiming"))
        if scheme != "kaiming":
            rows += [(dataset, optimizer, depth, scheme, "kaiming", kind, measure, effect, effect - 0.1,
                      effect + 0.1, n, 0.01, int(depth == 20), 0, 0, False)
                     for measure in ("ln_steps_ratio", "test_accuracy")]
    return table(rows, "dataset optimizer depth scheme versus lr_kind measure effect lo hi n p "
                       "censored_scheme censored_versus censored excluded")


TABLES = (e2_layers, e2_curves, e2_threshold, e2_lr, e2_gap, e2_contrasts)
