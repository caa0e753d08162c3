"""Params of tiny studies with extreme values in them, and what the stages make of these."""

import copy
import json
import sys

import numpy as np
from hypothesis import strategies as st

from mlp.small_grid import labelled
from reliability.params_files import DEFAULT, at
from tiny_gpt2 import write_corpus

EXTREME = [5e-324, 1e-308, 1e-160, 1e-45, 1e-38, 1e-20, 1e-6, 0.3, 0.999999, 1.0, 7.0, 1e6, 1e20, 1e38, 1e160,
           1.7e308]
"""The least and the largest numbers of both precisions, those whose square is not one, and usual ones."""
NUMBERS = [
    *(f"mlp_sweep.optimizers.{key}" for key in (
        "sgd.lr", "adamw.lr", "adamw.beta1", "adamw.beta2", "adamw.eps", "adamw.weight_decay")),
    *(f"mlp_sweep.stds.{key}" for key in ("low", "high", "refined_below", "refined_above")),
    *(f"init_comparison.optimizers.{key}" for key in (
        "momentum.momentum", "adamw.beta1", "adamw.beta2", "adamw.eps", "adamw.weight_decay")),
    *(f"gpt2.{key}" for key in ("lr", "min_lr_ratio", "weight_decay", "beta1", "beta2", "eps", "grad_clip",
                                "std")),
    "gpt2_arms.std_005.std", "gpt2_arms.wd_1.weight_decay", "analyze.confidence",
    *(f"analyze.e1.{key}" for key in ("tail_fraction", "trains_below", "exploding_above", "vanishing_within",
                                      "regimes_share", "overlap", "fan_in")),
    *(f"analyze.e2.{key}" for key in ("threshold", "censored_share")),
    *(f"analyze.e3.{key}" for key in ("narrow_slope", "narrow_spread", "last_share", "forecast_fraction",
                                      "settle_time_constants")),
    "analyze.recipes.lr", "analyze.recipes.weight_decay",
]
LISTS = ["init_comparison.optimizers.sgd.lrs", "analyze.e1.paper_band", "analyze.e3.null_band",
         "analyze.e3.horizons"]


def some(values, most):
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


SMALL = {
    "mlp_sweep.tasks": st.builds(lambda size, widths: {"wine": {"batch_size": size, "widths": widths}},
                                 st.sampled_from([1, 7, 200]), some([1, 2, 5], 2)),
    "mlp_sweep.depths": some([2, 3, 9], 2),
    "mlp_sweep.stds.per_decade": st.sampled_from([1, 2]),
    "mlp_sweep.stds.refined_per_decade": st.sampled_from([2, 4]),
    "init_comparison.tasks": st.builds(lambda size: {"wine": {"batch_size": size}}, st.sampled_from([1, 60])),
    "init_comparison.width": st.integers(1, 4),
    "init_comparison.depths": some([2, 3, 7], 2),
    "init_comparison.schemes": some(DEFAULT["init_comparison"]["schemes"], 3),
    **{f"{section}.{key}": values for section in ("mlp_sweep", "init_comparison") for key, values in {
        "seeds": st.sampled_from([1, 2, 10] if section == "init_comparison" else [1, 2]),
        "steps": st.integers(1, 9), "eval_every": st.integers(1, 12),
        "eval_rows": st.sampled_from([1, 500])}.items()},
    "gpt2.arms": some(sorted(DEFAULT["gpt2_arms"]), 2),
    "gpt2.seeds": some([0, 1, 5], 2),
    "gpt2.schedule": st.sampled_from(["cosine", "constant", "linear", "wsd"]),
    "gpt2.scheme": st.sampled_from(["gpt2", "kaiming", "small", "orthogonal", "normal", "mup"]),
    "gpt2.precision": st.sampled_from(["bf16", "fp32"]),
    "gpt2.val_every": st.integers(1, 9),
    "gpt2.val_batches": st.integers(1, 2),
    "gpt2.dumps": st.fixed_dictionaries({
        "every_step_until": st.integers(0, 3), "per_decade": st.integers(0, 4), "every": st.integers(1, 9),
        "windows": some([2, 3, 50], 2).map(lambda rest: [1, *rest]), "histogram_layer": st.just(1),
        "histogram_bins": st.integers(1, 9), "histogram_dumps": st.integers(0, 3)}),
    "gpt2_presets.cpu": st.fixed_dictionaries({
        "n_layer": st.integers(1, 3), "n_head": st.just(1), "n_embd": st.integers(1, 4),
        "n_ctx": st.integers(1, 5), "vocab_size": st.just(257), "batch_size": st.just(2),
        "micro_batch_size": st.sampled_from([1, 2]), "steps": st.integers(1, 12),
        "warmup_steps": st.integers(0, 4)}),
    "analyze.e2.smoothing_steps": st.integers(1, 12),
    "analyze.e2.max_cells": st.integers(1, 3),
    "analyze.e3.arm": st.sampled_from(sorted(DEFAULT["gpt2_arms"])),
    "analyze.e3.constant_arm": st.sampled_from(sorted(DEFAULT["gpt2_arms"])),
    "analyze.e3.shallow_layers": st.sampled_from([1, 2, 99]),
    "analyze.e3.null_from_step": st.sampled_from([0, 3, 10**9]),
    "analyze.recipes.mlp_sizes": st.lists(st.sampled_from([1, 3, 10**9]), min_size=2, max_size=3),
    "analyze.recipes.n_layer": st.sampled_from([1, 10**9]),
    "analyze.recipes.n_embd": st.sampled_from([1, 10**9]),
    "plot.representative_std_count": st.integers(1, 12),
}
"""Values that are all right, small enough for a run of a second, and often at the end of their range."""


@st.composite
def tiny(draw, most):
    """A tree of params for a study of a second, with up to `most` of its numbers replaced by EXTREME ones."""
    tree = copy.deepcopy(DEFAULT)
    tree["classification"]["datasets"] = ["wine"]
    tree["corpus"]["tokenizer"]["vocab_size"] = 257
    tree["analyze"]["bootstrap"] = 100
    tree["plot"]["dpi"] = 50
    for key, values in SMALL.items():
        parent, last = at(tree, key)
        parent[last] = draw(values)
    shape = tree["gpt2_presets"]["cpu"]
    shape["warmup_steps"] = min(shape["warmup_steps"], shape["steps"])
    for optimizer in ("sgd", "momentum", "adamw"):
        parent = tree["init_comparison"]["optimizers"]
        lrs = sorted(draw(some([1e-3, 0.1, 3.0], 3)))
        parent[optimizer] |= {"lrs": lrs, "shared_lr": lrs[0]}
    for key in draw(st.lists(st.sampled_from([*NUMBERS, *LISTS]), max_size=most, unique=True)):
        parent, last = at(tree, key)
        number = st.sampled_from(EXTREME)
        numbers = st.lists(number, min_size=1, max_size=3, unique=True)
        parent[last] = draw(number if key in NUMBERS else numbers)
    for optimizers in (tree["init_comparison"]["optimizers"], tree["mlp_sweep"]["optimizers"]):
        for name in draw(st.lists(st.sampled_from(sorted(optimizers)), max_size=2, unique=True)):
            if len(optimizers) > 1:
                del optimizers[name]
    return tree


def least():
    """A tree with what made analysis fail once: as little, and as large or small, as is accepted, at once."""
    tree = copy.deepcopy(DEFAULT)
    tree["classification"]["datasets"] = ["wine"]
    tree["corpus"]["tokenizer"]["vocab_size"] = 257
    tree["analyze"]["bootstrap"] = 100
    tree["analyze"]["e2"]["smoothing_steps"] = 12  # more than there are steps
    for section, width in (("mlp_sweep", {"widths": [1]}), ("init_comparison", {})):
        tree[section] |= {"tasks": {"wine": {"batch_size": 1} | width}, "depths": [2, 9]}
        tree[section] |= {"seeds": 2, "steps": 3}
    for each in tree["mlp_sweep"]["optimizers"].values():
        each["lr"] = 1e37  # everything is infinite after a step
    for each in tree["init_comparison"]["optimizers"].values():
        each |= {"lrs": [1e-37, 1e37], "shared_lr": 1e37}
    tree["init_comparison"]["width"] = 1
    tree["mlp_sweep"]["stds"] |= {"low": 1e-37, "high": 1e37, "per_decade": 1, "refined_per_decade": 1}
    tree["gpt2"] |= {"arms": ["std_1", "gpt2"], "seeds": [0, 1], "lr": 1e30, "weight_decay": 0.0, "std": 1e37}
    tree["gpt2"]["dumps"] |= {"windows": [1], "histogram_layer": 1}
    tree["gpt2_arms"] = {"gpt2": {}, "std_1": {"std": 1e-37}}
    tree["analyze"]["e3"]["constant_arm"] = "std_1"
    tree["gpt2_presets"]["cpu"] |= {"n_layer": 1, "n_head": 1, "n_embd": 1, "n_ctx": 1, "vocab_size": 257,
                                    "batch_size": 1, "micro_batch_size": 1, "steps": 3, "warmup_steps": 0}
    return tree


def prepare(folder):
    """What the stages before training make: data of the shape of wine, and a corpus of a small vocabulary."""
    (folder / "data/classification").mkdir(parents=True)
    data = labelled(features=13, rows=60)
    arrays = {f"{name}_{split}": part[split] for name, part in (("x", data.x), ("y", data.y))
              for split in part}
    np.savez(folder / "data/classification/wine.npz", **arrays)
    (folder / "data/classification/manifest.json").write_text('{"wine": {"classes": 3}}', encoding="utf-8")
    write_corpus(folder / "data/corpus")


def write(folder, tree):
    (folder / "params.yaml").write_text(json.dumps(tree), encoding="utf-8")


def items(tree):
    return [(arm, str(seed)) for arm in tree["gpt2"]["arms"] for seed in tree["gpt2"]["seeds"]]


def run(module, *arguments):
    """Run a stage in this process. An error in one line is one, too: `validate` should have said it."""
    sys.argv[1:] = arguments
    try:
        module.main()
    except SystemExit as ended:
        raise AssertionError(f"{module.__name__} ended with {ended.code}") from ended
