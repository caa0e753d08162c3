"""E1's analysis tables, made of formulas."""

import itertools

import numpy as np

from plotting.synthetic_rows import ended, table

STDS = np.unique(np.concatenate([np.logspace(-4, 1, 31), np.geomspace(0.05, 0.3, 19)]).round(9))


def shapes(datasets):
    for dataset in datasets:
        widths = (64,) if dataset == "wine" else (64, 128, 256)
        yield from itertools.product([dataset], ("sgd", "adamw"), (2, 4, 8), widths)


def band(optimizer, depth):
    """Edges in units of the critical std: narrower when deeper, lower for AdamW."""
    spread = 6.0 / depth
    return np.exp(-spread * (1.6 if optimizer == "adamw" else 1)), np.exp(spread)


def e1_loss(datasets, n):
    rows = []
    for dataset, optimizer, depth, width in shapes(datasets):
        chance = np.log(3 if dataset == "wine" else 10)
        low, high = band(optimizer, depth)
        for std in STDS:
            a = std * np.sqrt(width / 2)
            dead = 1 / (1 + (a / low) ** 8)
            hot = 1 / (1 + (high / a) ** 8)
            loss = min(0.02 + chance * dead + 60 * hot, 2 * chance)
            accuracy = 0.95 - (0.95 - np.exp(-chance)) * min(1, dead + hot)
            trains = max(0.0, 1 - dead - hot)
            rows.append((dataset, optimizer, depth, width, std, loss, loss * 0.9, loss * 1.1, accuracy,
                         accuracy - 0.02, accuracy + 0.02, n, trains, dead, hot * 0.8, hot * 0.2,
                         2 * chance, a))
    names = "dataset optimizer depth width std loss loss_lo loss_hi accuracy accuracy_lo accuracy_hi n " \
            "share_trains share_vanishing share_exploding share_stalled cap axis"
    return table(rows, names)


def e1_layers(datasets, n):
    rows = []
    for dataset, optimizer, depth, width in shapes(datasets):
        for std, layer in itertools.product(STDS, range(1, depth + 1)):
            gain = std**2 * width / 2
            forward, gradient = 2 * gain**layer, 0.1 * gain ** (depth - layer)
            rows += [(dataset, optimizer, depth, width, std, layer, stat, value * 1.05, value * 0.9,
                      value * 1.2, n, value)
                     for stat, value in (("second_moment", forward), ("grad_norm", gradient))]
    return table(rows, "dataset optimizer depth width std layer stat value lo hi n predicted")


def e1_edges(datasets, n):
    rows = []
    for dataset, optimizer, depth, width in shapes(datasets):
        critical = np.sqrt(2 / width)
        for edge, a in zip(("lower", "upper"), band(optimizer, depth), strict=True):
            ends = np.array([a, a / 1.2, a * 1.2])
            if dataset == "digits" and depth == 8 and width == 64:
                ends[:] = np.nan  # no seed trains
            rows.append((dataset, optimizer, depth, width, edge, *ends * critical, n,
                         n if a * critical > 10 else int(depth == 4 and width == 256),
                         n if np.isnan(ends[0]) else 0, critical,
                         a * critical * 0.9 if optimizer == "sgd" else np.nan))
    return table(rows, "dataset optimizer depth width edge std lo hi n censored never centre predicted")


def e1_overlap(datasets, n):
    rows = []
    for shape in shapes(datasets):
        values = np.clip(np.array([0.3, 0.5, 0.4]) * shape[2] / 4 * shape[3] / 128, 0, 1)
        rows.append((*shape, *[value + end for value in values for end in (0, -0.05, 0.05)], n))
    return table(rows, f"dataset optimizer depth width {ended('jaccard paper_share band_share')} n")


def e1_slopes(datasets, n):
    tasks = [task for task in itertools.product(datasets, ("sgd", "adamw"), (2, 4, 8), ("lower", "upper"))
             if task[0] != "wine"]
    rows = [(*task, *(np.array([-0.4, -0.5, -0.3]) if task[2] > 2 else [np.nan] * 3), n, -0.5 + 0.5 / task[2],
             -0.5) for task in tasks]
    return table(rows, "dataset optimizer depth edge slope lo hi n predicted critical")


def e1_widths(datasets, n):
    rows = [(*shape, *((12 / shape[2] * np.array([1, 0.9, 1.1])) if shape[2] > 2 else [np.nan] * 3), n,
             n if shape[2] == 2 else 0) for shape in shapes(datasets)]
    return table(rows, "dataset optimizer depth width ln_width ln_width_lo ln_width_hi n censored")


def e1_depth_law(datasets, n):
    tasks = dict.fromkeys((dataset, optimizer, width) for dataset, optimizer, _, width in shapes(datasets))
    return table([(*task, -1.2, -1.3, -1.1, n, -1.0) for task in tasks],
                 "dataset optimizer width exponent lo hi n predicted")


TABLES = (e1_loss, e1_layers, e1_edges, e1_overlap, e1_slopes, e1_widths, e1_depth_law)
