"""The files of a finished pretraining: long tables, the run's knobs and the final weights."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import save_file
from torch import Tensor

from study.gpt2.params import EXECUTION
from study.gpt2.pretrain import Pretraining, lr_at
from variance_dynamics.base import rows
from variance_dynamics.base.atomic import replacing
from variance_dynamics.tracking.sharded import for_checkpoint


def write(folder: Path, arm: str, training: Pretraining) -> None:
    """Write weights, losses, activations and histograms (Parquet), model.safetensors and run.json.

    Of several processes the first one writes; where each holds a part of the weights, all must call this.
    """
    final = for_checkpoint(training.model.state_dict())
    if not training.engine.writes:
        return
    tables = {"weights": training.tracker.frame().drop(columns="name"), "losses": losses(training),
              "activations": activations(training), "histograms": training.histograms.frame()}
    for name, table in tables.items():
        labelled = table.assign(arm=arm, seed=training.seed)
        rows.write(folder / f"{name}.parquet", labelled[["arm", "seed", *table.columns]])
    save_weights(folder / "model.safetensors", final)
    with replacing(folder / "run.json") as partial:
        partial.write_text(json.dumps(described(arm, training), indent=2) + "\n", encoding="utf-8")


def losses(training: Pretraining) -> pd.DataFrame:
    """Columns step, stat, value: train_loss, lr and clip of update `step` (from 0); val_loss after `step`."""
    steps = range(training.run.steps)
    curves = {name: curve.cpu().double().numpy() for name, curve in training.curves.items()}
    curves["lr"] = pd.Series([lr_at(step, training.run) for step in steps]).to_numpy()
    parts = [pd.DataFrame({"step": steps, "stat": name, "value": values}) for name, values in curves.items()]
    val = {step: value.item() for step, value in training.val_losses.items()}
    parts.append(pd.DataFrame({"step": list(val), "stat": "val_loss", "value": list(val.values())}))
    return pd.concat(parts, ignore_index=True)


def activations(training: Pretraining) -> pd.DataFrame:
    """Columns step, layer, stat, value: second moment of the residual stream after block `layer`.

    Layer 0 is the stream after the embeddings.
    """
    values = [(step, layer, "second_moment", value)
              for step, moments in training.moments.items() for layer, value in enumerate(moments.tolist())]
    return pd.DataFrame(values, columns=["step", "layer", "stat", "value"])


def described(arm: str, training: Pretraining) -> dict[str, Any]:
    """Every knob that decides the numbers, and the run's size."""
    run = training.run
    return {"arm": arm, "seed": training.seed, **run.model_dump(exclude=EXECUTION),
            "parameters": sum(p.numel() for p in training.model.parameters()),
            "tokens_seen": run.steps * run.batch_size * run.n_ctx,
            "corpus_tokens": len(training.corpus.train),
            "corpus_manifest_sha256": training.corpus.fingerprint}


def save_weights(path: Path, state: dict[str, Tensor]) -> None:
    """The final weights, under the model's own names; the tied head is the token embedding."""
    weights = {name: value.cpu().contiguous() for name, value in state.items()}
    with replacing(path) as partial:
        save_file(weights, partial)
        partial.chmod(0o644)  # as all other outputs: the library makes files for their owner alone
