"""Params drawn at random, valid and broken, from a description that shares nothing with the code."""

import copy
import math

from hypothesis import strategies as st

from copies import alone
from imports import ROOT
from study.base import params

DEFAULT = alone(params.load(ROOT / "params.yaml"))
ANYTHING = [None, True, "", "1e-3", "0.1", [], {}, [1], {"a": 1}, math.nan, math.inf, -math.inf]
"""Values that are wrong where a whole number is expected; other kinds leave out what is right for them."""


def whole(low, high=10**6):
    return st.integers(low, high), [low - 1, -7, low + 0.5, 3.0, *ANYTHING]


def real(low, high, beyond):
    """`beyond` are numbers just out of range. Whole numbers are right too."""
    return st.floats(low, high) | st.sampled_from([low, high]), [*beyond, *ANYTHING]


def one_of(*names):
    return st.sampled_from(names), ["nonsense", 3, 0.5, *ANYTHING]


NOT_TEXT: list[object] = [3, 0.5, None, True, [], {}, ["x"], ""]
TEXT = st.text("abcXYZ/ <&>;$*é'\"", min_size=1, max_size=9), NOT_TEXT
SWITCH = st.booleans(), ["true", "yes", 0, 1, *[each for each in ANYTHING if each is not True]]
COUNT = whole(1)
NATURAL = whole(0)
SHARE = real(1e-6, 1, [0, -0.1, 1.001])
INSIDE = real(1e-6, 1 - 1e-6, [0, -0.1, 1, 1.5])
DECAYED = real(0, 1 - 1e-6, [-0.1, 1, 1.5])
POSITIVE = real(1e-12, 1e6, [0, 0.0, -1e-9, -3])
LR = real(1e-9, 0.1, [0, 0.0, -1e-9])
DECAY = real(0, 5, [-1e-9, -1])
COMMIT = st.text("0123456789abcdef", min_size=40, max_size=40), ["main", "v1.0", "A" * 40, "0" * 39, 3, None]
RUNS = dict.fromkeys(("seeds", "steps", "eval_every", "eval_rows"), COUNT)

KEYS = {
    "classification": {
        "seed": NATURAL,
        "val_fraction": real(0.01, 0.4, [0, 1, -0.1, 0.9]),
        "test_fraction": real(0.01, 0.4, [0, 1, -0.1, 0.9]),
        "mnist.source": one_of("hub"),
        "mnist.path": TEXT,
        "mnist.hub_name": TEXT,
        "mnist.hub_revision": COMMIT,
    },
    "corpus": {
        "source": one_of("docs", "hub"),
        "seed": NATURAL,
        "val_fraction": INSIDE,
        "text_column": TEXT,
        "document_separator": TEXT,
        "separator_place": one_of("anywhere", "line"),
        "null_rows": one_of("refuse", "skip"),
        "hub.path": TEXT,
        "hub.split": TEXT,
        "hub.revision": COMMIT,
        "tokenizer.kind": one_of("train"),
        "tokenizer.vocab_size": (st.integers(257, 4096), [256, 1_000_001, *whole(1)[1]]),
        "tokenizer.train_bytes": COUNT,
        "tokenizer.distinct_bytes": whole(100_000),
        "tokenizer.gpt2_path": TEXT,
    },
    "mlp_sweep": {
        "tasks.wine.batch_size": COUNT,
        "tasks.digits.batch_size": COUNT,
        "optimizers.sgd.lr": LR,
        "optimizers.adamw.lr": LR,
        "optimizers.adamw.beta1": DECAYED,
        "optimizers.adamw.beta2": DECAYED,
        "optimizers.adamw.eps": POSITIVE,
        "optimizers.adamw.weight_decay": DECAY,
        **RUNS,
        "stds.low": real(1e-6, 1, [0, -1, 11.0]),
        "stds.high": real(1, 1e3, [0, -1, 1e-7]),
        "stds.refined_below": real(1, 1e3, [0, 0.999]),
        "stds.refined_above": real(1, 1e3, [0, 0.999]),
        "stds.per_decade": (st.sampled_from([1, 2, 3, 4, 6, 12]), [0, 5, 25, *ANYTHING]),
    },
    "init_comparison": {
        "tasks.mnist.batch_size": COUNT,
        "width": COUNT,
        "optimizers.sgd.shared_lr": (st.sampled_from([0.003, 0.01, 1.0, 1]), [0, 0.5, -1, *ANYTHING]),
        "optimizers.momentum.momentum": DECAYED,
        "optimizers.adamw.eps": POSITIVE,
        "optimizers.adamw.weight_decay": DECAY,
        **RUNS,
    },
    "gpt2": {
        "preset": one_of("cpu", "gpt2"),
        "device": one_of("cpu"),   # cuda where there is one
        "precision": one_of("bf16", "fp32"),
        "compile": SWITCH,
        "lr": LR,
        "min_lr_ratio": real(0, 1, [-0.01, 1.01]),
        "schedule": one_of("cosine", "constant", "linear", "wsd"),
        "weight_decay": DECAY,
        "beta1": DECAYED,
        "beta2": DECAYED,
        "eps": POSITIVE,
        "grad_clip": (POSITIVE[0] | st.none(), [wrong for wrong in POSITIVE[1] if wrong is not None]),
        "std": POSITIVE,
        "scheme": one_of("gpt2", "kaiming", "small", "xavier", "pytorch"),
        "tied": SWITCH,
        "qkv_bias": SWITCH,
        "dropout": DECAYED,
        "dumps.every_step_until": NATURAL,
        "dumps.per_decade": NATURAL,
        "dumps.every": COUNT,
        "dumps.histogram_layer": (st.integers(1, 12), [0, 13, *ANYTHING]),
        "dumps.histogram_bins": COUNT,
        "dumps.histogram_dumps": NATURAL,
        "val_every": COUNT,
        "val_batches": COUNT,
        "checkpoint_every": COUNT,
        "processes": COUNT,
        "sharding": one_of("ddp", "fsdp"),
    },
    "gpt2_presets": {
        "cpu.n_layer": (st.integers(12, 99), [0, -3, *ANYTHING]),
        "cpu.n_head": (st.sampled_from([1, 2, 4, 8, 128]), [0, 3, 256, *ANYTHING]),
        "cpu.n_embd": (st.integers(1, 9).map(lambda n: 128 * n), [0, 127, *ANYTHING]),
        "cpu.n_ctx": COUNT,
        "cpu.vocab_size": (st.integers(4096, 10**6), [0, 255, *ANYTHING]),
        "cpu.batch_size": (st.integers(1, 99).map(lambda n: 16 * n), [0, 17, *ANYTHING]),
        "cpu.micro_batch_size": (st.sampled_from([1, 2, 4, 8, 16]), [0, 3, 10**6, *ANYTHING]),
        "cpu.steps": (st.integers(200, 10**6), [0, 49, *ANYTHING]),
        "cpu.warmup_steps": (st.integers(0, 200), [-1, 10**7, *ANYTHING]),
        "gpt2.n_head": (st.sampled_from([1, 2, 12, 768]), [0, 7, *ANYTHING]),
        "gpt2.steps": (st.integers(200, 10**6), [0, 199, *ANYTHING]),
    },
    "gpt2_arms": {
        "std_005.std": POSITIVE,
        "wd_1.weight_decay": DECAY,
        "constant_lr.schedule": one_of("cosine", "constant"),
    },
    "analyze": {
        "confidence": INSIDE,
        "bootstrap": whole(100),
        "seed": NATURAL,
        "e1.tail_fraction": SHARE,
        "e1.trains_below": real(0.01, 0.9, [0, 1, 1.5]),
        "e1.exploding_above": real(1.1, 9, [1, 0.5]),
        "e1.vanishing_within": real(1e-3, 0.09, [0, -1, 9.5]),
        "e1.regimes_share": SHARE,
        "e2.threshold": INSIDE,
        "e2.smoothing_steps": COUNT,
        "e2.max_cells": COUNT,
        "e3.arm": one_of("gpt2", "wd_0"),
        "e3.shallow_layers": COUNT,
        "e3.primary_horizon": (st.sampled_from([0.1, 0.25, 0.5, 1.0, 1]), [0, 0.3, 1.1, *ANYTHING]),
        "e3.narrow_slope": POSITIVE,
        "e3.null_from_step": NATURAL,
        "recipes.n_layer": COUNT,
        "recipes.lr": real(1e-9, 0.1, [0, -1]),
        "recipes.weight_decay": real(0, 5, [-1, 1e12]),
    },
    "plot": {
        "dpi": (st.integers(50, 600), [49, 601, *whole(1)[1]]),
        "representative_std_count": (st.integers(1, 12), [0, 13, *ANYTHING]),
    },
}
LISTS = {
    "classification.datasets": [[], "wine", ["wine", "wine"], ["iris"], [3], None],
    "corpus.packages": [[], "torch", ["torch", "torch"], [""], ["no-such-package"], None],
    "corpus.files": [[], "x", ["a", "a"], [3]],
    "mlp_sweep.depths": [[], [1], [2, 2], ["2"], [2.0], 4, None],
    "mlp_sweep.tasks.digits.widths": [[], [0], [64, 64], [True], None],
    "init_comparison.depths": [[], [1], [2, 2], [math.nan]],
    "init_comparison.schemes": [[], ["kaimin"], ["gpt2"], ["xavier", "xavier"], [3]],
    "init_comparison.optimizers.sgd.lrs": [[], [0.1, 0.1], ["0.1"], [0.03, -1], [0.5], None],
    "gpt2.arms": [[], ["gpt2", "gpt2"], ["nothing"], [3], "gpt2", None],
    "gpt2.seeds": [[], [0, 0], [-1], ["0"], [0.0], 3, None],
    "gpt2.dumps.windows": [[], [0], [10, 10], ["10"], [10**7], None],
    "analyze.recorded": [["no-such-run"], [".."], [3], None],
    "analyze.e1.paper_band": [[], [0.1], [0.1, 0.01], [0.1, 0.1], [0, 1], [0.1, 0.2, 0.3]],
    "analyze.e3.horizons": [[], [0], [1.5], ["1"]],
    "analyze.e3.null_band": [[1.25, 0.8], [1], None],
    "analyze.recipes.mlp_sizes": [[], [1], [0, 1], None],
}
WRONG = {f"{top}.{key}": wrong for top, keys in KEYS.items() for key, (_, wrong) in keys.items()} | LISTS
OPTIONAL = ("corpus.hub.name", "gpt2_arms.")


def at(tree, key):
    """The mapping that holds a dotted key, and the key's last part."""
    *parents, last = key.split(".")
    for name in parents:
        tree = tree[name]
    return tree, last


@st.composite
def valid(draw, changes=12):
    """The repository's params with new values for up to `changes` keys."""
    tree = copy.deepcopy(DEFAULT)
    names = draw(st.lists(st.sampled_from(sorted(set(WRONG) - set(LISTS))), max_size=changes, unique=True))
    for name in names:
        parent, last = at(tree, name)
        section, _, key = name.partition(".")
        parent[last] = draw(KEYS[section][key][0])
    if draw(st.booleans()):  # the same value, but set by the study
        name = draw(st.sampled_from(["plot.dpi", "mlp_sweep.steps", "init_comparison.width", "gpt2.lr"]))
        parent, last = at(tree, name)
        tree["studies"]["default"][name.partition(".")[0]] = {last: parent[last]}
    return tree


@st.composite
def broken(draw):
    """A valid tree with one mistake in it, and the parts that the message must contain."""
    tree = draw(valid(changes=4))
    kind = draw(st.sampled_from(["wrong", "wrong", "wrong", "missing", "unknown", "crossed"]))
    return {"wrong": _wrong, "missing": _missing, "unknown": _unknown, "crossed": _crossed}[kind](draw, tree)


def _wrong(draw, tree):
    name = draw(st.sampled_from(sorted(WRONG)))
    value = draw(st.sampled_from(WRONG[name]))
    parent, last = at(tree, name)
    section = name.partition(".")[0]
    parent[last] = value
    _take_from_the_study(tree, section)
    return tree, [last, *([] if isinstance(value, list | dict) else [repr(value)])]


def _take_from_the_study(tree, section):
    if section in tree["studies"]["default"]:
        tree["studies"]["default"][section] = {}


def _missing(draw, tree):
    names = [name for name in sorted(WRONG) if not name.startswith(OPTIONAL)]
    name = draw(st.sampled_from(names))
    _take_from_the_study(tree, name.partition(".")[0])
    parent, last = at(tree, name)
    del parent[last]
    return tree, [last, "missing"]


def _unknown(draw, tree):
    name = draw(st.sampled_from(sorted(WRONG)))
    parent, last = at(tree, name)
    extra = last + draw(st.sampled_from(["s", "_", "2", "x"]))
    parent[extra] = draw(st.sampled_from([1, "x", None, [], {}]))
    return tree, [extra]


CROSSED = {
    "classification": [({"val_fraction": 0.5, "test_fraction": 0.5}, "test_fraction 0.5")],
    "mlp_sweep.stds": [
        ({"low": 2.0, "high": 1.0}, "high is 1.0"),
        ({"per_decade": 5, "refined_per_decade": 24}, "refined_per_decade is 24"),
    ],
    "mlp_sweep": [({"optimizers": {}}, "optimizer"), ({"tasks": {}}, "tasks")],
    "init_comparison.optimizers.adamw": [({"lrs": [0.1], "shared_lr": 0.2}, "shared_lr is 0.2")],
    "init_comparison": [({"tasks": {"iris": {"batch_size": 3}}}, "tasks.iris")],
    "gpt2_presets.cpu": [
        ({"n_embd": 130, "n_head": 4}, "n_head is 4"),
        ({"batch_size": 16, "micro_batch_size": 3}, "micro_batch_size is 3"),
        ({"steps": 300, "warmup_steps": 301}, "warmup_steps is 301"),
    ],
    "gpt2_arms.wd_1": [({"weight_decay": 1e10}, "weight_decay 1e+10"), ({"n_ctx": 3000}, "n_ctx is 3000")],
    "gpt2_arms": [({"a b": {}}, "a b"), ({"x;y": {"lr": 0.1}}, "x;y"), ({"x": None}, "gpt2_arms.x is None")],
    "studies": [({"[d]efault": {}}, "studies.'[d]efault'"), ({"x": {}}, "studies.x: section classification")],
    "gpt2.dumps": [({"windows": [10**7]}, "dumps.windows is [10000000]")],
    "analyze.e1": [({"trains_below": 0.9, "vanishing_within": 0.2}, "vanishing_within is 0.2")],
    "analyze.e3": [({"arm": "nothing"}, "e3.arm is 'nothing'"),
                   ({"horizons": [0.5], "primary_horizon": 0.25}, "primary_horizon is 0.25")],
    "analyze.recipes": [({"lr": 0.1, "weight_decay": 10.0}, "weight_decay is 10.0")],
    "studies.default": [({"gpt2": {"seeds": [1]}}, "default.gpt2.seeds is set"), ({"x": {}}, "section x")],
}


def _crossed(draw, tree):
    where = draw(st.sampled_from(sorted(CROSSED)))
    change, part = draw(st.sampled_from(CROSSED[where]))
    tree["gpt2"]["preset"] = "cpu"
    tree["studies"]["default"] = {section: {} for section in tree["studies"]["default"]}
    parent, last = at(tree, where)
    parent[last] |= copy.deepcopy(change)
    return tree, [part]
