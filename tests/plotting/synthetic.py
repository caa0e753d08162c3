"""Analysis tables made of formulas, for figures, rows and the report without a run."""

import itertools

import numpy as np
import pandas as pd

from imports import ROOT
from variance_dynamics import params
from variance_dynamics.analysis.params import AnalyzeParams
from variance_dynamics.plotting.params import PlotParams, Settings

STDS = np.unique(np.concatenate([np.logspace(-4, 1, 31), np.geomspace(0.05, 0.3, 19)]).round(9))
SCHEMES = ("xavier", "kaiming", "lecun", "torch_default", "orthogonal", "xavier_sqrt2")
ROLES = ("q", "k", "v", "attn_out", "mlp_in", "mlp_out")


ARMS = ("gpt2", "std_005", "std_1", "wd_0", "wd_1", "constant_lr", "kaiming", "small_init")


def settings(stds=3):
    """Those of params.yaml, at a low resolution."""
    tree = params.read(ROOT / "params.yaml")
    return Settings(PlotParams(dpi=60, representative_std_count=stds),
                    params.section(tree, "analyze", AnalyzeParams))


def study(sources=("local", "full-cpu")):
    """Eight arms and three data sets from each source, as a full study and a recorded one have."""
    runs = [tables(ARMS, ("wine", "digits", "mnist"), source) for source in sources]
    return {name: pd.concat([run[name] for run in runs], ignore_index=True) for name in runs[0]}


def tables(arms=("gpt2",), datasets=("wine", "digits"), source="local", n=5):
    """Every table that `analyze` writes, for one source."""
    made = {
        "e1_loss": e1_loss(datasets, n),
        "e1_layers": e1_layers(datasets, n),
        "e1_edges": e1_edges(datasets, n),
        "e1_overlap": e1_overlap(datasets, n),
        "e1_slopes": e1_slopes(datasets, n),
        "e1_widths": e1_widths(datasets, n),
        "e1_depth_law": e1_depth_law(datasets, n),
        "e2_layers": e2_layers(datasets, n),
        "e2_curves": e2_curves(datasets, n),
        "e2_threshold": e2_threshold(datasets, n),
        "e2_lr": e2_lr(datasets, n),
        "e2_gap": e2_gap(datasets, n),
        "e2_contrasts": e2_contrasts(datasets, n),
        "e3_std": e3_std(arms, n),
        "e3_ratio": e3_ratio(arms, n),
        "e3_mechanism": e3_mechanism(arms, n),
        "e3_causes": e3_causes(arms, n),
        "e3_final": e3_final(arms, n),
        "e3_bands": e3_bands(arms, n),
        "e3_expansion": e3_expansion(arms, n),
        "e3_state": e3_state(arms, n),
        "e3_errors": e3_errors(arms, n),
        "e3_convergence": e3_convergence(arms, n),
        "e3_hist": e3_hist(arms),
        "e3_loss": e3_loss(arms, n),
        "e3_acts": e3_acts(arms, n),
    }
    for frame in made.values():
        frame.insert(0, "source", source)
    return made


def small(**options):
    """Wine at two depths: every kind of figure, quickly drawn."""
    made = tables(datasets=("wine",), **options)
    return {name: rows[rows.depth.isin([2, 8, 3, 9, 20])] if "depth" in rows else rows
            for name, rows in made.items()}


def table(rows, names):
    return pd.DataFrame(rows, columns=names.split())


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


def e2_layers(datasets, n):
    rows = e1_layers(datasets, n).query("width == 64")
    names = dict(zip(STDS, SCHEMES, strict=False))
    return rows[rows["std"].isin(names)].assign(scheme=rows["std"].map(names), depth=rows.depth + 1)


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
    names = " ".join(f"{name}{end}" for name in ("jaccard", "paper_share", "band_share")
                     for end in ("", "_lo", "_hi"))
    return table(rows, f"dataset optimizer depth width {names} n")


def e1_widths(datasets, n):
    rows = [(*shape, *((12 / shape[2] * np.array([1, 0.9, 1.1])) if shape[2] > 2 else [np.nan] * 3), n,
             n if shape[2] == 2 else 0) for shape in shapes(datasets)]
    return table(rows, "dataset optimizer depth width ln_width ln_width_lo ln_width_hi n censored")


def e1_depth_law(datasets, n):
    tasks = dict.fromkeys((dataset, optimizer, width) for dataset, optimizer, _, width in shapes(datasets))
    return table([(*task, -1.2, -1.3, -1.1, n, -1.0) for task in tasks],
                 "dataset optimizer width exponent lo hi n predicted")


def e1_slopes(datasets, n):
    tasks = [task for task in itertools.product(datasets, ("sgd", "adamw"), (2, 4, 8), ("lower", "upper"))
             if task[0] != "wine"]
    rows = [(*task, *(np.array([-0.4, -0.5, -0.3]) if task[2] > 2 else [np.nan] * 3), n, -0.5 + 0.5 / task[2],
             -0.5) for task in tasks]
    return table(rows, "dataset optimizer depth edge slope lo hi n predicted critical")


def speed(optimizer, depth, scheme):
    slow = {"xavier": 1.8, "lecun": 2.2, "torch_default": 3.5, "orthogonal": 0.9}.get(scheme, 1.0)
    return 15 * slow ** (depth / 6) * {"sgd": 1.5, "momentum": 1.0, "adamw": 0.5}[optimizer]


def comparisons(datasets):
    return itertools.product(datasets, ("sgd", "momentum", "adamw"), (3, 10, 20), SCHEMES, ("shared", "best"))


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
    names = ["R", "size", "along", "D", "persistence", "c2", "memory", "grad_kurtosis", "epsilon_share",
             "grad_norm"]
    rows = []
    for arm, horizon, layer, role in itertools.product(arms, (0.1, 1.0), range(1, 13), ROLES):
        values = np.array([1.0, 1.0, 0.1, 0.6, 1.3, 0.7, 0.9, 4.0, 1e-3, 0.02]) * (0.5 + layer / 24)
        rows.append((arm, horizon, int(500 * horizon), layer, role,
                     *[value * end for value in values for end in (1, 0.9, 1.1)], n))
    numbers = " ".join(f"{name}{end}" for name in names for end in ("", "_lo", "_hi"))
    return table(rows, f"arm horizon step layer role {numbers} n")


def e3_causes(arms, n):
    names = ("size_share", "memory_share", "c2_with_grad_kurtosis", "R_with_a_new_cause")
    rows = [(arm, cause, value, value - 0.1, value + 0.1, n)
            for arm in arms for cause, value in zip(names, (0.4, 0.6, -0.3, 0.8), strict=True)]
    return table(rows, "arm cause value lo hi n")


def e3_final(arms, n):
    numbers = [value * end for value in (0.02, 0.024, 0.8, 0.6, 1.3) for end in (1, 0.9, 1.1)]
    rows = [(arm, role, *numbers, n) for arm, role in itertools.product(arms, ROLES)]
    names = " ".join(f"{name}{end}" for name in ("std", "predicted", "R", "D", "R_over_D")
                     for end in ("", "_lo", "_hi"))
    return table(rows, f"arm role {names} n")


def e3_bands(arms, n):
    numbers = [value * end for value in (0.1, 0.04, 0.4, 0.03, 0.2) for end in (1, 0.8, 1.2)]
    rows = [(arm, role, *numbers, n) for arm, role in itertools.product(arms, ROLES)]
    names = " ".join(f"{name}{end}" for name in ("growth", "sd", "spread", "slope", "width")
                     for end in ("", "_lo", "_hi"))
    return table(rows, f"arm role {names} n")


def e3_expansion(arms, n):
    cells = itertools.product(arms, (0.1, 0.25, 0.5, 1.0), ("q", "k", "v", "qkv"), (False, True))
    rows = [(arm, horizon, role, without, -0.1 * horizon, -0.1 * horizon - 0.02, -0.1 * horizon + 0.02, n)
            for arm, horizon, role, without in cells]
    return table(rows, "arm horizon role without_first effect lo hi n")


def e3_state(arms, n):
    rows = [(arm, layer, role, 0.01, 0.0, 0.02, -0.01, 0.01, n, "drifting" if layer < 4 else "frozen")
            for arm, layer, role in itertools.product(arms, range(1, 13), ROLES)]
    return table(rows, "arm layer role slope slope_lo slope_hi decay noise n state")


def e3_errors(arms, n):
    ends = [value for error in (0.02, 0.05, 0.15) for value in (error, error - 0.01, error + 0.01)]
    rows = [(arm, roles, *ends, n) for arm, roles in itertools.product(arms, ("block", "qkv"))]
    return table(rows, "arm roles error_forecast error_forecast_lo error_forecast_hi error_law error_law_lo "
                       "error_law_hi error_no_change error_no_change_lo error_no_change_hi n")


def e3_convergence(arms, n):
    rows = [(arm, "gpt2", role, step, left := np.exp(-step / 400), left - 0.02, left + 0.02, n, left**0.9)
            for arm, role, step in itertools.product(arms[1:], ROLES, dumps())]
    return table(rows, "arm other role step left lo hi n predicted")


def e3_hist(arms):
    rows = []
    for arm, role, step in itertools.product(arms, ("q", "k", "v"), (0, 10, 50, 100, 200, 350, 500)):
        std = 0.02 * np.sqrt(1 + step / 400)
        edges = np.linspace(-4 * std, 4 * std, 102)
        centre = (edges[1:] + edges[:-1]) / 2
        density = np.exp(-0.5 * (centre / std) ** 2) / std / np.sqrt(2 * np.pi)
        rows += [(arm, step, 6, role, *bar) for bar in zip(edges[:-1], edges[1:], density, strict=True)]
    return table(rows, "arm step layer role left right density")


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
