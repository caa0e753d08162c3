"""Pretraining of a GPT-2 with every weight matrix tracked; nothing in the step loop waits for the device."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from study.base import checkpoint
from study.gpt2.batches import Batches, Contexts, Corpus, spread
from study.gpt2.engines import engine
from study.gpt2.model import GPT2, Noise, Shape
from study.gpt2.params import AS_BUILT, EXECUTION, Gpt2Run, check_gpus
from variance_dynamics.base import schedules
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.progress import progress
from variance_dynamics.base.seeding import torch_seed
from variance_dynamics.initializing import initialize
from variance_dynamics.tracking.arguments import OF_MATRICES
from variance_dynamics.tracking.histograms import Histograms
from variance_dynamics.tracking.sharded import cut_like, for_checkpoint, gathered
from variance_dynamics.tracking.tracker import Tracker
from variance_dynamics.weights.parameter import QKV

PROBE_CONTEXTS = 4
"""Validation contexts on which the residual stream is measured."""
CURVES = ("train_loss", "clip")
STATEFUL = ("model", "optimizer", "tracker", "histograms")
PLAIN = ("curves", "val_losses", "moments", "step")
"""Attributes that a checkpoint holds: by their own `state_dict`, and as they are."""


class Pretraining:
    """A run in progress: the model, its optimizer, all measurements, and how many updates are done."""

    def __init__(self, run: Gpt2Run, seed: int, corpus: Corpus) -> None:
        self.run, self.seed, self.corpus = run, seed, corpus
        self.device = _device(run.device)
        self.model = build(run, seed, self.device)
        self.engine = engine(self.model, run)
        self.optimizer = adamw(self.model, run)
        self.batches = Batches(corpus.train, run.n_ctx, run.batch_size, seed)
        self.val = spread(corpus.val, run.n_ctx, run.val_batches * run.batch_size)
        self.probes = spread(corpus.val, run.n_ctx, PROBE_CONTEXTS)
        self.dumped = schedules.at(dump_steps(run))
        self.tracker, self.histograms = self._trackers()
        self.curves = {name: torch.full((run.steps,), torch.nan, device=self.device) for name in CURVES}
        self.val_losses: dict[int, Tensor] = {}
        self.moments: dict[int, Tensor] = {}
        self.step = self.resumed_at = 0
        facts = (run.model_dump(exclude=EXECUTION), seed, corpus.fingerprint)
        self.checkpoints = checkpoint.folder(facts)

    def _trackers(self) -> tuple[Tracker, Histograms]:
        run, matrices = self.run, self.model.matrices()
        tracker = Tracker(self.model, self.optimizer, matrices=matrices, measure=OF_MATRICES,
                          schedule=self.dumped, windows=run.dumps.windows)
        shown = [p for p in matrices if p.role in QKV and p.layer == run.dumps.histogram_layer]
        counted = schedules.at(histogram_steps(run))
        return tracker, Histograms(self.model, shown, counted, run.dumps.histogram_bins)

    def start(self) -> None:
        """Measure the initial state; the tracker has measured it already."""
        self._measure()

    def advance(self) -> None:
        """One update, and the measurements that are due after it."""
        lr = lr_at(self.step, self.run)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        count = self.run.batch_size // self.run.micro_batch_size
        self.curves["train_loss"][self.step] = self.engine.gradients(self._micro_batch, count)
        self.tracker.before_step()  # gradients before clipping; the update itself it sees by watching
        weights = self.model.parameters()
        limit = math.inf if self.run.grad_clip is None else self.run.grad_clip
        norm = gathered(torch.nn.utils.clip_grad_norm_(weights, limit, foreach=True))
        self.curves["clip"][self.step] = (limit / (norm + 1e-6)).clamp(max=1)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._measure()

    def _micro_batch(self, index: int) -> tuple[Tensor, Tensor, Noise]:
        """Tokens and targets of a micro batch of the next update; only these rows are read from disk."""
        size = self.run.micro_batch_size
        rows = self._on_device(self.batches(self.step, range(index * size, (index + 1) * size)))
        return *rows, self._noise(index)

    def _noise(self, index: int) -> Noise:
        """Generator of dropout's masks: one for each micro batch, whichever thread or process computes it."""
        if not self.run.dropout:
            return None
        return torch.Generator(self.device).manual_seed(torch_seed(self.seed, "dropout", self.step, index))

    def _measure(self) -> None:
        if self.engine.measures:
            self.histograms.after_step(self.step)
            if self.dumped(self.step):
                self.moments[self.step] = self._second_moments()
        if self.step % self.run.val_every == 0 or self.step == self.run.steps:
            self.val_losses[self.step] = self._val_loss()

    def _val_loss(self) -> Tensor:
        """Mean over the validation contexts, in micro batches of one shape."""
        size = min(self.run.micro_batch_size, len(self.val))
        parts = self.val[: len(self.val) // size * size].reshape(-1, size, self.run.n_ctx + 1)
        return self.engine.mean_loss(lambda index: self._on_device(parts[index]), len(parts))

    @torch.no_grad()
    def _second_moments(self) -> Tensor:
        tokens, _ = self._on_device(self.probes)
        with _precision(self.run):
            return self.model.second_moments(tokens)

    def _on_device(self, contexts: Contexts) -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(contexts)
        if self.device.type == "cuda":
            rows = rows.pin_memory().to(self.device, non_blocking=True)
        return rows[:, :-1], rows[:, 1:]

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to end with the same bytes, with any number of processes."""
        states = {name: for_checkpoint(getattr(self, name).state_dict()) for name in STATEFUL}
        return states | {name: getattr(self, name) for name in PLAIN}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        now = self.model.state_dict()
        self.model.load_state_dict({name: cut_like(value, now[name])
                                    for name, value in state["model"].items()})
        load_optimizer(self.optimizer, state["optimizer"])
        self.tracker.load_state_dict(state["tracker"])
        self.histograms.load_state_dict(state["histograms"])
        for name in ("curves", "val_losses", "moments"):
            setattr(self, name, {key: value.to(self.device) for key, value in state[name].items()})
        self.step = self.resumed_at = state["step"]

    def save(self) -> None:
        """Write a checkpoint; every process that holds a part of the state must call this."""
        if self.engine.measures:
            state = self.state_dict()
            if self.engine.writes:
                checkpoint.save(self.checkpoints, self.step, state)


def pretrain(run: Gpt2Run, arm: str, seed: int, corpus: Corpus) -> Pretraining:
    """Train to the end, from the last checkpoint if there is one.

    Raises BadInput where the processes of one run do not all find the same checkpoint.
    """
    training = Pretraining(run, seed, corpus)
    saved = checkpoint.latest(training.checkpoints)
    step = 0 if saved is None else saved["step"]
    if training.engine.agreed(step) != step:
        raise BadInput(f"{training.checkpoints}: this process finds step {step}, the first another: "
                       "expected a folder that all processes share")
    if saved is None:
        training.start()
    else:
        training.load_state_dict(saved)
    del saved  # as large as the run itself
    with progress(total=run.steps, initial=training.step, desc=f"{arm}-{seed}", unit="tok",
                  unit_scale=run.batch_size * run.n_ctx, disable=not training.engine.writes) as bar:
        _advance_to_the_end(training, bar)
    return training


def _advance_to_the_end(training: Pretraining, bar: Any) -> None:
    """With a checkpoint at every interval; the loss is shown ten steps late, so that nothing waits for it."""
    shown: Tensor | None = None
    while training.step < training.run.steps:
        training.advance()
        bar.update(1)
        if training.step % 10 == 1:
            if shown is not None:
                bar.set_postfix(step=training.step, loss=f"{shown.item():.3f}", refresh=False)
            shown = training.curves["train_loss"][training.step - 1].to("cpu", non_blocking=True)
        if training.step % training.run.checkpoint_every == 0:
            training.save()


def build(run: Gpt2Run, seed: int, device: torch.device) -> GPT2:
    """An initialised model on `device`; it has no memory and no values before these lines give it both."""
    shape = Shape(run.n_layer, run.n_head, run.n_embd, run.n_ctx, run.vocab_size, run.tied, run.qkv_bias,
                  run.dropout)
    if run.scheme == AS_BUILT:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(seed, "init"))
            return GPT2(shape).to(device)
    with torch.device("meta"):
        model = GPT2(shape)
    model = model.to_empty(device=device)
    initialize(model, run.scheme, seed, run.std, matrices=model.matrices())
    return model


def adamw(model: nn.Module, run: Gpt2Run) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101), with weight decay on matrices alone.

    As in nanoGPT, both embeddings decay and biases and norms do not.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in parameters if p.ndim >= 2], "weight_decay": run.weight_decay},
              {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=run.lr, betas=(run.beta1, run.beta2), eps=run.eps, fused=True)


def lr_at(step: int, run: Gpt2Run) -> float:
    """Learning rate of update `step`, which counts from 0."""
    return schedules.learning_rate(step, run.lr, run.schedule, run.warmup_steps, run.steps, run.min_lr_ratio)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """`optimizer.load_state_dict` of a whole state, in which every tensor is cut like its parameter."""
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    cut = {number: {name: cut_like(value, weight) for name, value in state["state"][number].items()}
           for number, weight in zip(numbers, weights, strict=True) if number in state["state"]}
    optimizer.load_state_dict({**state, "state": cut})


def _precision(run: Gpt2Run) -> torch.autocast:
    return torch.autocast(run.device, torch.bfloat16, enabled=run.precision == "bf16")


def dump_steps(run: Gpt2Run) -> list[int]:
    """Every early step, then log-spaced and evenly spaced steps, and the last."""
    dumps, last = run.dumps, run.steps
    steps = {*schedules.early(min(dumps.every_step_until, last)), *schedules.evenly(dumps.every, last),
             *schedules.log_spaced(dumps.per_decade, last), last}
    return sorted(steps)


def histogram_steps(run: Gpt2Run) -> list[int]:
    """About `histogram_dumps` of the dump steps, evenly spaced in log(step), with the first and the last."""
    steps = dump_steps(run)
    wanted = np.concatenate([[0], np.geomspace(1, run.steps, max(run.dumps.histogram_dumps - 1, 1))])
    wanted = wanted[: run.dumps.histogram_dumps]
    return sorted({min(steps, key=lambda step: abs(step - target)) for target in wanted})


def _device(name: str) -> torch.device:
    check_gpus(name, processes=1)
    if name == "cuda":
        torch.set_float32_matmul_precision("high")
    return torch.device(name)
