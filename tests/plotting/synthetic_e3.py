"""E3's analysis tables, made of formulas."""

import itertools

import numpy as np

from plotting.synthetic_rows import ended, spread, table

ROLES = ("q", "k", "v", "attn_out", "mlp_in", "mlp_out")


def dumps():
    return np.unique(np.concatenate([np.arange(20), np.logspace(1.3, np.log10(500), 30).astype(int),
                                     np.arange(0, 501, 25)]))


def e3_std(arms, n):
    rows = []
    for (index, arm), layer, role, step in itertools.product(enumerate(arms), range(1, 13), ROLES, dumps()):
        start = 0.02 / (1 + index)
        predicted = np.sqrt(start**2 * np.exp(-2e-4 * step) + 4e-7 * step)
        share = (layer / 12 if layer > 1 else 0.9) * (-0.2 if role == "v" and layer == 1 else 1)
        value = np.sqrt(np.maximum(start**2 + share * 4e-7 * step, 1e-8))
        rows.append((arm, step, layer, role, value, value * 0.99, value * 1.01, n, predicted))
    return table(rows, "arm step layer role value lo hi n predicted")


def e3_ratio(arms, n):
    rows = []
    places = [*itertools.product(range(1, 13), ROLES), (0, "embedding"), (0, "position")]
    for arm, (layer, role), step in itertools.product(arms, places, dumps()[20:]):
        ratio = (layer / 12 if layer > 1 else 0.9) * (-0.2 if role == "v" and layer == 1 else 1)
        size = 0.6 + 0.02 * layer
        numbers = [value + shift for value in (ratio, size, ratio / size) for shift in (0, -0.05, 0.05)]
        rows.append((arm, step, layer, role, *numbers, n))
    return table(rows, "arm step layer role R R_lo R_hi D D_lo D_hi R_over_D R_over_D_lo R_over_D_hi n")


def e3_mechanism(arms, n):
    names = "R size along D persistence c2 memory grad_kurtosis epsilon_share grad_norm"
    rows = []
    for arm, horizon, layer, role in itertools.product(arms, (0.1, 1.0), range(1, 13), ROLES):
        values = np.array([1.0, 1.0, 0.1, 0.6, 1.3, 0.7, 0.9, 4.0, 1e-3, 0.02]) * (0.5 + layer / 24)
        rows.append((arm, horizon, int(500 * horizon), layer, role, *spread(values, 0.1), n))
    return table(rows, f"arm horizon step layer role {ended(names)} n")


def e3_causes(arms, n):
    names = ("size_share", "memory_share", "c2_with_grad_kurtosis", "R_with_a_new_cause")
    rows = [(arm, cause, value, value - 0.1, value + 0.1, n)
            for arm in arms for cause, value in zip(names, (0.4, 0.6, -0.3, 0.8), strict=True)]
    return table(rows, "arm cause value lo hi n")


def each_role(arms, names, values, width, n):
    """The same values, with intervals of this relative width, for every arm and role."""
    rows = [(arm, role, *spread(values, width), n) for arm, role in itertools.product(arms, ROLES)]
    return table(rows, f"arm role {ended(names)} n")


def e3_final(arms, n):
    return each_role(arms, "std predicted R D R_over_D", (0.02, 0.024, 0.8, 0.6, 1.3), 0.1, n)


def e3_bands(arms, n):
    return each_role(arms, "growth sd spread slope width", (0.1, 0.04, 0.4, 0.03, 0.2), 0.2, n)


def e3_expansion(arms, n):
    cells = itertools.product(arms, (0.1, 0.25, 0.5, 1.0), ("q", "k", "v", "qkv"), (False, True))
    rows = [(arm, horizon, role, without, -0.1 * horizon, -0.1 * horizon - 0.02, -0.1 * horizon + 0.02, n)
            for arm, horizon, role, without in cells]
    return table(rows, "arm horizon role without_first effect lo hi n")


def e3_state(arms, n):
    rows = [(arm, layer, role, 0.01, 0.0, 0.02, -0.01, 0.01, n, "drifting" if layer < 4 else "frozen",
             2 / 3 if layer == 4 else 1.0)
            for arm, layer, role in itertools.product(arms, range(1, 13), ROLES)]
    return table(rows, "arm layer role slope slope_lo slope_hi decay noise n state agree")


def e3_forecast(arms, n):
    names = "error_pilot error_law error_no_change error_floor law_minus_no_change pilot_minus_law"
    ends = [error + end for error in (0.02, 0.05, 0.15, 0.01, -0.1, -0.03) for end in (0, -0.01, 0.01)]
    rows = [(arm, roles, *ends, n) for arm, roles in itertools.product(arms, ("block", "qkv"))]
    return table(rows, f"arm roles {ended(names)} n")


def e3_earlier(arms, n):
    names = "R growth D c2 memory persistence along"
    rows = [(arm, "q", "2", "refuted", "small updates (c2 0.7)", 0.05, 0.15,
             *spread(np.array([0.3, 0.1, 0.4, 0.7, 0.57, 0.9, -0.09]), 0.1), n) for arm in arms]
    return table(rows, f"arm role layers outcome why earlier_lo earlier_hi {ended(names)} n")


def e3_convergence(arms, n):
    rows = [(arm, "gpt2", role, step, left := np.exp(-step / 400), left - 0.02, left + 0.02, n, left**0.9)
            for arm, role, step in itertools.product(arms[1:], ROLES, dumps())]
    return table(rows, "arm other role step left lo hi n predicted")


def e3_loss(arms, n):
    rows = []
    for index, arm in enumerate(arms):
        for stat, every in (("train_loss", 1), ("val_loss", 50)):
            steps = np.arange(0, 501, every)
            loss = 3.8 + 0.1 * index + 4.5 * np.exp(-steps / 90)
            rows += [(arm, step, stat, value, value - 0.03, value + 0.03, n)
                     for step, value in zip(steps, loss, strict=True)]
    return table(rows, "arm step stat mean lo hi n")


def e3_acts(arms, n):
    rows = []
    for arm, layer, step in itertools.product(arms, range(13), dumps()):
        value = 8e-4 + 1e-5 * layer * (1 + step)
        rows.append((arm, step, layer, value, value * 0.9, value * 1.1, n))
    return table(rows, "arm step layer value lo hi n")


def e3_hist(arms, n):
    """Normal densities of Q, K and V of one layer, in 26 bins."""
    rows = []
    for arm, role, step in itertools.product(arms, ROLES[:3], (0, 100, 200, 300, 400, 500)):
        std = 0.02 + 2e-5 * step
        ends = std * np.linspace(-4, 4, 27)
        density = np.exp(-((ends[1:] + ends[:-1]) ** 2) / (8 * std**2)) / np.sqrt(2 * np.pi) / std
        rows += [(arm, step, 6, role, *bin) for bin in zip(ends[:-1], ends[1:], density, strict=True)]
    return table(rows, "arm step layer role left right density")


TABLES = (e3_std, e3_ratio, e3_mechanism, e3_causes, e3_final, e3_bands, e3_expansion, e3_state,
          e3_forecast, e3_earlier, e3_convergence, e3_loss, e3_acts, e3_hist)
