"""Statistics of every weight matrix while a model trains, measured on its device and fetched late."""

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.schedules import IsDue
from variance_dynamics.tracking.activations import Activations
from variance_dynamics.tracking.arguments import (
    ACTIVATIONS,
    BUDGET,
    DISPLACEMENT,
    GRADIENTS,
    SETTINGS,
    UPDATES,
    WEIGHTS,
    checked_measures,
    checked_windows,
    every_nth,
    matrices_by_name,
    process,
)
from variance_dynamics.tracking.layout import Layout, stacked_like
from variance_dynamics.tracking.measures import (
    BUDGET_STATS,
    Stats,
    Update,
    epsilon_stats,
    gradient_stats,
    setting_stats,
    still,
    weight_stats,
)
from variance_dynamics.tracking.optimizers import as_list
from variance_dynamics.tracking.records import Record, Records, Sink
from variance_dynamics.tracking.stacks import Stack, is_sharded
from variance_dynamics.weights.parameter import Parameter
from variance_dynamics.weights.pieces import Piece, as_pieces
from variance_dynamics.weights.statistics import displacement

INIT = "init"
FLUSH = 100
"""Dumps after which the file is brought up to date."""
Before = tuple[Tensor | None, Stats, list[int]]
"""Of a stack before an update: its weights, what was measured, and which matrices have no gradient."""


class Tracker:
    """Statistics of every weight matrix of `model` at every `every`-th update; step 0 is the state now.

    With an `optimizer`, its own `step` is watched: nothing more has to be called. Of several, give the list:
    each matrix is measured after the steps of its own one, and `step` counts those. Without one, call
    `step()` after each update; then only weights and displacements can be measured.

    `measure` names what is measured: "weights" (std, mean, rms, absmax, excess kurtosis), "gradients" (norm,
    kurtosis), "updates" (update_rms, in units of lr and without decoupled decay, and Adam's epsilon_share),
    "settings" (lr and weight_decay of each matrix, and the shape of its tensor), "budget" (what the update
    adds to the mean square: alignment, injection, decay, see `measures.Update`), "displacement" (see
    `displacement`; keeps a copy of the weights, and one for each of `windows`, in steps), "activations" (like
    weights, of each layer's output; eager models only). `schedule`, step -> bool, takes the place of `every`.
    `path` ends in .parquet or .jsonl; a file that exists is written to only after `load_state_dict`. `sink`
    is a function that gets the new rows of the table at each dump. `start` is the number of updates done.

    Which parameters are matrices, and their roles, follow from their names. `patterns` maps regular
    expressions on names to roles ("ignore" leaves a parameter out); `config` gives head counts where the
    model has no Hugging Face config. With `matrices` no name is looked at: these are measured.

    Gradients are as the optimizer gets them: a sum over micro batches, clipped, unscaled under AMP. For those
    before clipping, call `before_step()` first. A step that GradScaler skips does not count; a fused
    optimizer does not skip it, and makes an update of 0. Sharded parameters (FSDP2) are measured as whole
    matrices: make the tracker after sharding, in every process, and let every process call all of it. Where
    nothing is sharded the first process alone measures. It alone writes.

    A parameter without a gradient has an update of 0. One that is replaced (`load_state_dict(assign=True)`)
    or gets an optimizer later (`add_param_group`) is followed. Where copies of the weights in float32 are
    trained in their place, these are measured. Warnings say what no optimizer updates, and which one was
    never seen to step.

    Nothing waits for the device before `frame`, `state_dict`, or the turn of the file or the sink.

    Raises BadInput for a name, a path or a schedule that is none of the above, and for an optimizer that
    trains nothing of the model.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> optimizer = torch.optim.AdamW(model.parameters())
    >>> with Tracker(model, optimizer, every=2) as tracker:
    ...     for _ in range(4):
    ...         optimizer.zero_grad()
    ...         model(torch.ones(3, 4)).square().mean().backward()
    ...         optimizer.step()
    >>> std = tracker.frame().query("stat == 'std'")
    >>> [(row.step, row.name, row.role) for row in std.drop(columns="value").itertuples(index=False)]
    [(0, '0.weight', 'hidden'), (0, '2.weight', 'readout'), (2, '0.weight', 'hidden'), \
(2, '2.weight', 'readout'), (4, '0.weight', 'hidden'), (4, '2.weight', 'readout')]
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer | Sequence[Optimizer] | None = None,
                 every: int = 100, *, measure: Collection[str] | None = None, schedule: IsDue | None = None,
                 windows: Iterable[int] = (), patterns: Mapping[str, str] | None = None,
                 config: Mapping[str, Any] | None = None, path: str | Path | None = None,
                 sink: Sink | None = None, start: int = 0,
                 matrices: Sequence[Parameter | Piece] | None = None) -> None:
        if not isinstance(model, nn.Module):
            raise BadInput(f"model is a {type(model).__name__}: expected an nn.Module that is trained")
        self.optimizers = as_list(optimizer)
        self.measure = checked_measures(measure, bool(self.optimizers))
        self.windows = checked_windows(windows, self.measure)
        self.schedule = schedule or every_nth(every)
        self.rank = process()
        self.measures_here = self.rank == 0 or any(map(is_sharded, model.parameters()))
        self.pieces = matrices_by_name(model, patterns, config) if matrices is None else as_pieces(
            matrices, {name: tuple(weight.shape) for name, weight in model.named_parameters()})
        first = self.rank == 0
        parameters = [piece.parameter for piece in self.pieces]
        self.table = Records(parameters, path if first else None, sink if first else None)
        self.anchors: dict[str, dict[int, Tensor]] = {}
        self.counts = [start] * max(1, len(self.optimizers))
        self.ready = [False] * len(self.counts)
        self.start, self.dumps = start, 0
        self._before: dict[int, Before] = {}
        self._copies: dict[int, list[Tensor]] = {}
        self.layout = Layout(model, self.pieces, self.optimizers)
        self.layout.warn(self.measure)
        self.activations = Activations(model, self.pieces) if ACTIVATIONS in self.measure else None
        self.handles: list[Any] = []
        for number, each in enumerate(self.optimizers):
            self.handles += [each.register_step_pre_hook(partial(self._before_update, number)),
                             each.register_step_post_hook(partial(self._after_update, number))]
        self._measure(None)

    @property
    def steps(self) -> int:
        """Updates that are done; of several optimizers those of the first."""
        return self.counts[0]

    @property
    def stacks(self) -> list[Stack]:
        """The matrices in stacks."""
        return self.layout.stacks

    @property
    def records(self) -> list[Record]:
        """What was measured, in the order in which it was."""
        return self.table.all

    def _follow(self) -> None:
        """Take up parameters that were replaced, and those that were given to an optimizer."""
        if not self.layout.changed():
            return
        before = [stack.places for stack in self.stacks]
        kept = {} if self.layout.sharded else self._whole_anchors()  # all processes would have to gather
        self.layout.follow()
        self._copies = {}
        if [stack.places for stack in self.stacks] != before:
            self._restore(kept)

    def _due(self, number: int, ahead: int = 0) -> bool:
        return bool(self.schedule(self.counts[number] + ahead))

    @torch.no_grad()
    def before_step(self, optimizer: Optimizer | None = None) -> None:
        """Measure the gradients as they are now for the next update; call it again if that is skipped.

        Keeps the weights, in order to measure what the update changes. Of several optimizers, `optimizer` is
        the one whose step is next; without it, all of them have their gradients now.
        """
        self.table.refuse_overwriting()
        for number in range(len(self.counts)):
            if optimizer is None or not self.optimizers or self.optimizers[number] is optimizer:
                self._before_step(number)

    def _before_step(self, number: int) -> None:
        self.ready[number] = True
        for index in self.layout.of(number):
            self._before.pop(index, None)
        if self.measures_here and self._due(number, ahead=1):
            self._follow()
            for index in self.layout.of(number):
                stack = self.stacks[index]
                self._before[index] = (self._kept(index), self._gradients(stack), still(stack))

    def _gradients(self, stack: Stack) -> Stats:
        return gradient_stats(stack) if GRADIENTS in self.measure else {}

    def _kept(self, index: int) -> Tensor | None:
        moved = UPDATES in self.measure or BUDGET in self.measure
        return self.stacks[index].copied(self._copies.setdefault(index, [])) if moved else None

    def step(self) -> None:
        """Say that an update has been done, where no optimizer is watched."""
        if self.handles:
            raise BadInput("step() of a tracker with an optimizer: expected none, its own step is watched")
        self.table.refuse_overwriting()
        for number in range(len(self.counts)):
            self._after_step(number)

    def _after_step(self, number: int) -> None:
        self.counts[number] += 1
        self.ready[number] = False
        self._measure(number)

    def _measure(self, number: int | None) -> None:
        """Measure what this optimizer updates, if that is due; at the start (None) all matrices."""
        if not self.measures_here:
            return
        due = self._due(number or 0)
        self._measure_weights(number, self.counts[number or 0], due)
        if not number:
            if self.activations is not None:
                self._add(self.activations.take())
                self.activations.due = self._due(0, ahead=1)
            self.dumps += due
        if due:
            self.table.give()
        if self.dumps >= FLUSH:
            self.flush()

    @torch.no_grad()
    def _measure_weights(self, number: int | None, step: int, due: bool) -> None:
        ended = [str(window) for window in self.windows if step % window == 0]
        if not due and not ended and step:
            return
        if not any(index in self._before for index in self.layout.of(number)):
            self._follow()
        stats: list[Stats] = []
        for index in self.layout.of(number):
            weights = self.stacks[index].now()
            measured = self._dump(index, step, weights) if due else {}
            for name in [INIT] * due + ended:
                measured |= self._moved(index, name, weights)
            for name in ended + [INIT] * (DISPLACEMENT in self.measure and not step):
                self._anchor(index, name, weights)
            self._before.pop(index, None)
            stats.append(measured)
        self._record(number, step, stats)

    def _dump(self, index: int, step: int, weights: Tensor) -> Stats:
        stack = self.stacks[index]
        stats = weight_stats(stack, weights) if WEIGHTS in self.measure else {}
        before, gradient, unmoved = self._before.get(index, (None, {}, []))
        stats |= gradient
        optimizer = self.optimizers[stack.optimizer] if self.optimizers else None
        if optimizer is not None and SETTINGS in self.measure:
            stats |= setting_stats(optimizer, stack, step == self.start)
        if optimizer is not None and before is not None and stack.param_group is not None:
            update = Update(optimizer, stack, before, weights, unmoved, BUDGET in self.measure)
            if UPDATES in self.measure:
                stats |= {"update_rms": update.rms()} | epsilon_stats(optimizer, stack)
            if update.terms is not None:
                stats |= dict(zip(BUDGET_STATS, update.terms, strict=True))
        return stats

    def _moved(self, index: int, name: str, weights: Tensor) -> Stats:
        """The displacement since an anchor was set; none if it was not."""
        start = self.anchors.get(name, {}).get(index)
        if start is None:
            return {}
        stack = self.stacks[index]
        squares, dots = displacement(start, weights, stack.reductions, stack.buffers[1:])
        return {f"delta_ms_{name}": squares, f"delta_dot_{name}": dots}

    def _anchor(self, index: int, name: str, weights: Tensor) -> None:
        """Keep the weights as the start of a window, in the memory of the window before."""
        kept = self.anchors.setdefault(name, {})
        if index in kept:
            kept[index].copy_(weights)
        else:
            kept[index] = weights.clone()

    def _record(self, number: int | None, step: int, stats: list[Stats]) -> None:
        """Add what was measured of each stack; NaN where a stack lacks a statistic that another one has."""
        names = list(dict.fromkeys(name for each in stats for name in each))
        if not names:
            return
        places, order = self.layout.orders[number]
        absent = [torch.full((len(self.stacks[index].places),), torch.nan, device=self.layout.device)
                  for index in self.layout.of(number)]
        parts = [torch.stack([each.get(name, nan).to(self.layout.device) for name in names]).to(torch.float64)
                 for each, nan in zip(stats, absent, strict=True)]
        self.table.add((step, names, places, torch.cat(parts, 1)[:, order]))

    def _add(self, stats: Stats) -> None:
        """Add statistics of all matrices in their own order."""
        if stats:
            values = torch.stack(list(stats.values())).to(self.layout.device)
            self.table.add((self.steps, list(stats), list(range(len(self.pieces))), values))

    def _before_update(self, number: int, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        """Gradients are there, unless a closure computes them: then they are measured after it."""
        self.table.refuse_overwriting()
        closure = kwargs.get("closure") or next(iter(args[1:]), None)
        if closure is None:
            self._before_scaled(number, optimizer)
            return None

        def measured() -> Any:
            loss = closure()
            self._before_scaled(number, optimizer)
            return loss

        return (args[0], measured, *args[2:]), {key: kwargs[key] for key in kwargs if key != "closure"}

    def _before_scaled(self, number: int, optimizer: Optimizer) -> None:
        """A fused optimizer takes GradScaler's scale out of the gradients by itself, later than this."""
        if self.ready[number]:
            return
        self.before_step(optimizer)
        scale = getattr(optimizer, "grad_scale", None)
        if isinstance(scale, Tensor):
            for index in self.layout.of(number):
                stats = self._before[index][1] if index in self._before else {}
                if "grad_norm" in stats:
                    stats["grad_norm"] = stats["grad_norm"] / scale

    def _after_update(self, number: int, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._after_step(number)

    def frame(self) -> pd.DataFrame:
        """Columns step, name, layer, role, stat, value: one row per measurement, in the order measured."""
        return self.table.frame()

    def flush(self) -> None:
        """Bring the file up to date."""
        self.dumps = 0
        self.table.flush()

    def unwatch(self) -> None:
        """Stop watching the optimizers: from now on `step()` says when an update is done."""
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def close(self) -> None:
        """Stop watching the optimizers and the layers, and write what is left.

        Warns of an optimizer that made no step in all this time.
        """
        watched = bool(self.handles)
        self.unwatch()
        if self.activations is not None:
            self.activations.close()
        self.flush()
        names = [type(each).__name__ for each in self.optimizers] if watched else ["step()"]
        unseen = [name for name, count in zip(names, self.counts, strict=False) if count == self.start]
        if unseen and (watched or not self.optimizers):
            warnings.warn(f"no step of {', '.join(unseen)} was seen, so the table holds the start alone: "
                          "expected one after each update", stacklevel=2)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, *problem: object) -> None:
        if problem[0] is None:
            self.close()
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the problem says more
            self.close()

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to end with the same table, on any device and number of processes.

        Where weights are sharded every process must call this; the first one's state is the whole one.
        """
        return {"anchors": self._whole_anchors(), "records": self.table.state(), "steps": list(self.counts)}

    def _whole_anchors(self) -> dict[str, dict[int, Tensor]]:
        """The copies of the weights, by window and place."""
        return {name: {place: self.stacks[index].whole(row, rows[row])
                       for index, rows in kept.items() for row, place in enumerate(self.stacks[index].places)}
                for name, kept in self.anchors.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave the first process; the file is then written anew.

        Raises BadInput for the state of a tracker of another number of optimizers.
        """
        if len(state["steps"]) != len(self.counts):
            raise BadInput(f"state is that of {len(state['steps'])} optimizers: expected {len(self.counts)}")
        self.counts, self.start = list(state["steps"]), -1
        self.table.resume(state["records"], self.layout.device)
        if not self.measures_here:
            return
        self._restore(state["anchors"])
        if self.activations is not None:
            self.activations.due = self._due(0, ahead=1)

    def _restore(self, anchors: Mapping[str, Mapping[int, Tensor]]) -> None:
        """The copies that `_whole_anchors` gave, in the stacks of now, of what this process holds."""
        self.anchors = {name: {index: stacked_like(stack, [kept[place] for place in stack.places])
                               for index, stack in enumerate(self.stacks)
                               if all(place in kept for place in stack.places)}
                        for name, kept in anchors.items()}

