"""What a finished pretraining leaves in its folder: long tables, the resolved run and the final weights."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import save_file
from torch import Tensor

from study.gpt2.optimizers import lr_at
from study.gpt2.params import EXECUTION
from study.gpt2.pretrain import Pretraining
from study.gpt2.sharding import whole
from variance_dynamics.base import rows


def write(folder: Path, arm: str, training: Pretraining) -> None:
    """Write weights, losses, activations and histograms (Parquet), model.safetensors and run.json.

    Of several processes the first writes; where they share the weights, each must call this.
    """
    final = whole(training.model.state_dict())
    if not training.engine.writes:
        return
    tables = {"weights": training.tracker.frame(), "losses": losses(training),
              "activations": activations(training), "histograms": training.histograms.frame()}
    for name, table in tables.items():
        labelled = table.assign(arm=arm, seed=training.seed)
        rows.write(folder / f"{name}.parquet", labelled[["arm", "seed", *table.columns]])
    save_weights(folder / "model.safetensors", final)
    told = json.dumps(described(arm, training), indent=2) + "\n"
    partial = folder / "run.json.partial"
    partial.write_text(told, encoding="utf-8")
    partial.replace(folder / "run.json")


def losses(training: Pretraining) -> pd.DataFrame:
    """step, stat, value: train_loss, lr and clip of update `step` (from 0); val_loss after `step` updates."""
    steps = range(training.run.steps)
    curves = {name: curve.cpu().double().numpy() for name, curve in training.curves.items()}
    curves["lr"] = pd.Series([lr_at(step, training.run) for step in steps]).to_numpy()
    parts = [pd.DataFrame({"step": steps, "stat": name, "value": values}) for name, values in curves.items()]
    val = {step: value.item() for step, value in training.val_losses.items()}
    parts.append(pd.DataFrame({"step": list(val), "stat": "val_loss", "value": list(val.values())}))
    return pd.concat(parts, ignore_index=True)


def activations(training: Pretraining) -> pd.DataFrame:
    """step, layer, stat, value: second moment of the residual stream after block `layer` (0: embeddings)."""
    values = [(step, layer, "second_moment", value)
              for step, moments in training.moments.items() for layer, value in enumerate(moments.tolist())]
    return pd.DataFrame(values, columns=["step", "layer", "stat", "value"])


def described(arm: str, training: Pretraining) -> dict[str, Any]:
    """Every knob that decides the result, and the run's size."""
    run = training.run
    return {"arm": arm, "seed": training.seed, **run.model_dump(exclude=EXECUTION),
            "parameters": sum(p.numel() for p in training.model.parameters()),
            "tokens_seen": run.steps * run.batch_size * run.n_ctx,
            "corpus_tokens": len(training.corpus.train),
            "corpus_manifest_sha256": training.corpus.fingerprint}


def save_weights(path: Path, state: dict[str, Tensor]) -> None:
    """The final weights, under the model's own names; the tied head is the token embedding."""
    partial = path.with_name(path.name + ".partial")
    weights = {name: value.cpu().contiguous() for name, value in state.items()}
    save_file(weights, partial)
    partial.replace(path)
