"""Train many MLPs of one shape at once, on the same minibatches, and record the measurements of each.

Divergence is a result too. The first values of a diverged model are recorded as they are (inf or nan), all
later ones are nan, and the model is no longer computed.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from study.base.labelled import Labelled
from study.mlp.net import (
    Mlps,
    Workspace,
    accumulate,
    backward,
    cross_entropy,
    forward,
    log_probabilities,
    second_moments,
)
from study.mlp.params import TrainingPlan
from study.mlp.updates import Update


class Dataset:
    """A labelled dataset as tensors: x [n, features] and y [n] by split, and training `one_hot` [n, K]."""

    def __init__(self, data: Labelled) -> None:
        self.x = {split: torch.from_numpy(x) for split, x in data.x.items()}
        self.y = {split: torch.from_numpy(y) for split, y in data.y.items()}
        self.features, self.classes = data.features, data.classes
        self.one_hot = F.one_hot(self.y["train"], data.classes).float()


class Record:
    """Measurements of M models with L layers over T steps with E evaluations; nan where nothing was measured.

    float32: train_loss [T, M]; val_loss and val_accuracy [E, M], at `plan.eval_steps`; test_loss and
    test_accuracy [M], after the last step. float64: second_moment [L, M], at step 0; grad_norm [E - 1, L, M],
    at all of `plan.eval_steps` but the last, which has no minibatch.
    A loss or a norm at step s is that of the weights after s updates.
    """

    def __init__(self, models: int, layers: int, plan: TrainingPlan) -> None:
        self.eval_steps = plan.eval_steps
        evals = len(self.eval_steps)
        self.train_loss = torch.full((plan.steps, models), torch.nan)
        self.val_loss = torch.full((evals, models), torch.nan)
        self.val_accuracy = torch.full((evals, models), torch.nan)
        self.test_loss = torch.full((models,), torch.nan)
        self.test_accuracy = torch.full((models,), torch.nan)
        self.grad_norm = torch.full((evals - 1, layers, models), torch.nan, dtype=torch.float64)
        self.second_moment = torch.full((layers, models), torch.nan, dtype=torch.float64)

    def blank_after_divergence(self) -> None:
        """Set everything after a model's first non-finite training loss to nan."""
        steps = len(self.train_loss)
        bad = ~self.train_loss.isfinite()
        first = torch.where(bad.any(0), bad.int().argmax(0), steps + 1)
        self.train_loss.masked_fill_(torch.arange(steps).unsqueeze(1) > first, torch.nan)
        late = torch.tensor(self.eval_steps).unsqueeze(1) > first
        self.val_loss.masked_fill_(late, torch.nan)
        self.val_accuracy.masked_fill_(late, torch.nan)
        self.grad_norm.masked_fill_(late[:-1].unsqueeze(1), torch.nan)
        self.test_loss.masked_fill_(first < steps, torch.nan)
        self.test_accuracy.masked_fill_(first < steps, torch.nan)

    def arrays(self) -> dict[str, NDArray[np.floating]]:
        """Every measurement by name."""
        return {name: value.numpy() for name, value in vars(self).items() if isinstance(value, Tensor)}


class Ensemble:
    """M models in training on the same minibatches: rows `order` [T, B] of the training split."""

    def __init__(self, mlps: Mlps, update: Update, data: Dataset, order: Tensor, plan: TrainingPlan) -> None:
        self.mlps, self.update, self.data, self.order, self.plan = mlps, update, data, order, plan
        self.alive = torch.arange(len(mlps))
        self.work = Workspace(mlps, order.shape[1])
        self.record = Record(len(mlps), len(mlps.weights), plan)

    @torch.inference_mode()
    def run(self, done: Callable[[int], None] = lambda steps: None) -> Record:
        """Train to the end and return the measurements. `done` is called with numbers of steps that are done.

        These add up to all steps, also where training ends early because every model has diverged.
        """
        steps, every = self.plan.steps, self.plan.eval_every
        probe = self.data.x["train"][: self.plan.eval_rows]
        self.record.second_moment.copy_(second_moments(self.mlps, probe))
        for step in range(steps):
            if step % every == 0:
                self._validate(step // every)
            self._train(step)
            if not len(self.alive):
                done(steps - step // every * every)
                break
            if (step + 1) % every == 0 or step + 1 == steps:
                done(step % every + 1)
        self._finish()
        return self.record

    def _train(self, step: int) -> None:
        rows = self.order[step]
        inputs = self.data.x["train"].index_select(0, rows).mT  # whole rows: faster than x[rows]
        one_hot = self.data.one_hot.index_select(0, rows).mT.contiguous()
        scale = (self.update.scale / len(rows)).view(-1, 1, 1)
        logits = forward(self.mlps, inputs, self.work)
        losses = cross_entropy(logits, one_hot, scale, self.work.deltas[-1])
        self.record.train_loss[step, self.alive] = losses
        self.update.begin()
        measured = step % self.plan.eval_every == 0
        backward(self.mlps, inputs, self.work, self._measure(step) if measured else self.update)
        if measured or step & (step - 1) == 0:  # also at powers of 2, as many models diverge early
            self._drop(losses)

    def _measure(self, step: int) -> Callable[[int, Tensor, Tensor], None]:
        """The update, preceded in each layer by recording the norm of the weight gradient."""
        row = self.record.grad_norm[step // self.plan.eval_every]

        def measure_and_update(layer: int, delta: Tensor, inputs: Tensor) -> None:
            gradient = accumulate(torch.empty_like(self.mlps.weights[layer]), delta, inputs, beta=0, alpha=1)
            norm = torch.linalg.vector_norm(gradient, dim=(1, 2), dtype=torch.float64)
            row[layer, self.alive] = norm / self.update.scale
            self.update(layer, delta, inputs)

        return measure_and_update

    def _drop(self, losses: Tensor) -> None:
        """Compute diverged models no longer."""
        finite = losses.isfinite()
        if finite.all():
            return
        keep = finite.nonzero().squeeze(1)
        self.alive = self.alive[keep]
        self.mlps.keep(keep)
        self.update.keep(keep)
        self.work = Workspace(self.mlps, self.order.shape[1])

    def _validate(self, row: int) -> None:
        loss, accuracy = self._scores("val", self.plan.eval_rows)
        self.record.val_loss[row, self.alive] = loss
        self.record.val_accuracy[row, self.alive] = accuracy

    def _finish(self) -> None:
        if len(self.alive):
            self._validate(-1)
            loss, accuracy = self._scores("test", None)
            self.record.test_loss[self.alive] = loss
            self.record.test_accuracy[self.alive] = accuracy
        self.record.blank_after_divergence()

    def _scores(self, split: str, rows: int | None) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy [M] on a split's first rows; where the loss is nan, so is the accuracy."""
        labels = self.data.y[split][:rows]
        log_p = log_probabilities(self.mlps, self.data.x[split][:rows])
        loss = F.nll_loss(log_p, labels.expand(len(log_p), -1), reduction="none").mean(1)
        accuracy = (log_p.argmax(1) == labels).float().mean(1)
        return loss, accuracy.masked_fill(loss.isnan(), torch.nan)
