"""run.json, which every GPT-2 run leaves in its folder: the knobs that decide the result, and its size."""

import json
from pathlib import Path
from typing import Any, NotRequired, TypedDict


class RunJson(TypedDict):
    """What one run.json says. Runs that are simulated or older may lack the keys that are not required."""

    arm: str
    seed: int
    std: float
    """Nominal initial std of the matrices that the scheme sets by a std."""
    weight_decay: float
    beta1: float
    beta2: NotRequired[float]
    eps: NotRequired[float]
    lr: NotRequired[float]
    min_lr_ratio: NotRequired[float]
    schedule: NotRequired[str]
    warmup_steps: NotRequired[int]
    grad_clip: NotRequired[float | None]
    scheme: NotRequired[str]
    tied: NotRequired[bool]
    qkv_bias: NotRequired[bool]
    dropout: NotRequired[float]
    n_layer: NotRequired[int]
    n_head: NotRequired[int]
    n_embd: NotRequired[int]
    n_ctx: NotRequired[int]
    vocab_size: NotRequired[int]
    batch_size: NotRequired[int]
    micro_batch_size: NotRequired[int]
    steps: NotRequired[int]
    val_every: NotRequired[int]
    val_batches: NotRequired[int]
    dumps: NotRequired[dict[str, Any]]
    device: NotRequired[str]
    precision: NotRequired[str]
    compile: NotRequired[bool]
    parameters: NotRequired[int]
    tokens_seen: NotRequired[int]
    corpus_tokens: NotRequired[int]
    corpus_manifest_sha256: NotRequired[str]


def read(folder: Path) -> RunJson:
    """run.json of the run in `folder`."""
    run: RunJson = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return run
