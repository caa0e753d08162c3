"""Statistics of every weight matrix while a model trains, measured on its device and fetched late."""

import math
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.schedules import IsDue
from variance_dynamics.tracking.activations import Activations
from variance_dynamics.tracking.stacks import (
    Stack,
    Stats,
    gradient_stats,
    is_sharded,
    stacks_of,
    update_stats,
    weight_stats,
)
from variance_dynamics.tracking.writers import writer
from variance_dynamics.weights.parameter import Parameter
from variance_dynamics.weights.pieces import Piece, as_pieces
from variance_dynamics.weights.statistics import displacement

WEIGHTS, GRADIENTS, UPDATES = "weights", "gradients", "updates"
DISPLACEMENT, ACTIVATIONS = "displacement", "activations"
OF_MATRICES = (WEIGHTS, GRADIENTS, UPDATES, DISPLACEMENT)
MEASURES = (*OF_MATRICES, ACTIVATIONS)
"""What can be measured, each switched by name."""
NEED_OPTIMIZER = (GRADIENTS, UPDATES, ACTIVATIONS)
INIT = "init"
COLUMNS = ["step", "name", "layer", "role", "stat", "value"]
FLUSH = 100
"""Dumps after which the file is brought up to date."""
SHOWN = 5
"""Unknown matrices that the warning names."""


class Tracker:
    """Statistics of every weight matrix of `model` at every `every`-th update; step 0 is the state now.

    With an `optimizer`, its own `step` is watched: nothing more has to be called. Without one, call `step()`
    after each update; then only weights and displacements can be measured.

    `measure` names what is measured: "weights" (std, mean, rms, absmax, excess kurtosis), "gradients" (norm,
    kurtosis), "updates" (update_rms, in units of lr and without decoupled decay, and Adam's epsilon_share),
    "displacement" (see `displacement`; keeps a copy of the weights, and one for each of `windows`, in steps),
    "activations" (like weights, of each layer's output; eager models only). `schedule`, step -> bool, takes
    the place of `every`. `path` ends in .parquet or .jsonl. `start` is the number of updates already done.

    Which parameters are matrices, and their roles, follow from their names. `patterns` maps regular
    expressions on names to roles ("ignore" leaves a parameter out); `config` gives head counts where the
    model has no Hugging Face config. With `matrices` no name is looked at: these are measured.

    Gradients are as the optimizer gets them: a sum over micro batches, clipped, unscaled under AMP. For those
    before clipping, call `before_step()` first. A step that GradScaler skips does not count; a fused
    optimizer does not skip it, and makes an update of 0. Sharded parameters (FSDP2) are measured as whole
    matrices: make the tracker after sharding, in every process, and let every process call all of it. Where
    nothing is sharded the first process alone measures. It alone writes.

    Nothing waits for the device before `frame`, `state_dict`, or the file's turn.

    Raises BadInput for a name, a path or a schedule that is none of the above.

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

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None, every: int = 100, *,
                 measure: Collection[str] | None = None, schedule: IsDue | None = None,
                 windows: Iterable[int] = (), patterns: Mapping[str, str] | None = None,
                 config: Mapping[str, Any] | None = None, path: str | Path | None = None,
                 start: int = 0, matrices: Sequence[Parameter | Piece] | None = None) -> None:
        if not isinstance(model, nn.Module):
            raise BadInput(f"model is a {type(model).__name__}: expected an nn.Module that is trained")
        self.measure = _checked_measures(measure, optimizer)
        self.windows = _checked_windows(windows, self.measure)
        self.schedule, self.optimizer = schedule or _every(every), optimizer
        self.rank = _rank()
        self.measures_here = self.rank == 0 or any(map(is_sharded, model.parameters()))
        self.write = writer(path) if path is not None and self.rank == 0 else None
        pieces = _by_name(model, patterns, config) if matrices is None else as_pieces(
            matrices, {name: tuple(weight.shape) for name, weight in model.named_parameters()})
        self.parameters = [piece.parameter for piece in pieces]
        self.stacks = _stacks(model, pieces, optimizer)
        order = torch.tensor([place for stack in self.stacks for place in stack.places]).argsort()
        self.order = order.to(self.stacks[0].weights[0].device)
        self.anchors: dict[str, list[Tensor]] = {}
        self.records: list[tuple[int, list[str], Tensor]] = []
        self._before: list[tuple[Tensor | None, Stats]] = []
        self._copies: list[list[Tensor]] = [[] for _ in self.stacks]
        self.steps, self.written, self.dumps, self.ready = start, 0, 0, False
        self.activations = Activations(model, pieces) if ACTIVATIONS in self.measure else None
        self.handles = [] if optimizer is None else [optimizer.register_step_pre_hook(self._before_update),
                                                     optimizer.register_step_post_hook(self._after_update)]
        self._measure()

    @torch.no_grad()
    def before_step(self) -> None:
        """Measure the gradients as they are now for the next update; call it again if that is skipped.

        Keeps the weights, in order to measure what the update changes.
        """
        self._before, self.ready = [], True
        if self.measures_here and self.schedule(self.steps + 1):
            self._before = [(self._kept(index), gradient_stats(stack) if GRADIENTS in self.measure else {})
                            for index, stack in enumerate(self.stacks)]

    def step(self) -> None:
        """Say that an update has been done, where no optimizer is watched."""
        if self.handles:
            raise BadInput("step() of a tracker with an optimizer: expected none, its own step is watched")
        self._after_step()

    def _after_step(self) -> None:
        self.steps += 1
        self.ready = False
        self._measure()

    def _measure(self) -> None:
        """Measure the state after `self.steps` updates, if that is due."""
        if not self.measures_here:
            return
        due = bool(self.schedule(self.steps))
        self._measure_weights(due)
        if self.activations is not None:
            self._add(self.activations.take())
            self.activations.due = self.schedule(self.steps + 1)
        self.dumps += due
        if self.write is not None and self.dumps >= FLUSH:
            self.flush()

    @torch.no_grad()
    def _measure_weights(self, due: bool) -> None:
        moving = DISPLACEMENT in self.measure
        ended = [str(window) for window in self.windows if self.steps % window == 0]
        if not due and not ended and self.steps:
            return
        stats: list[Stats] = []
        for index, stack in enumerate(self.stacks):
            weights = stack.now()
            stats.append(self._dump(index, weights) if due else {})
            for name in [INIT] * due + ended:
                stats[index] |= self._moved(index, name, weights)
            for name in ended + [INIT] * (moving and not self.steps):
                self._anchor(index, name, weights)
        self._before = []
        self._record(stats)

    def _kept(self, index: int) -> Tensor | None:
        return self.stacks[index].copied(self._copies[index]) if UPDATES in self.measure else None

    def _dump(self, index: int, weights: Tensor) -> Stats:
        stack = self.stacks[index]
        stats = weight_stats(stack, weights) if WEIGHTS in self.measure else {}
        if self._before:
            before, gradient = self._before[index]
            stats |= gradient
            if self.optimizer is not None and before is not None:
                stats |= update_stats(self.optimizer, stack, before, weights)
        return stats

    def _moved(self, index: int, name: str, weights: Tensor) -> Stats:
        """The displacement since an anchor was set; none if it was not."""
        if index >= len(self.anchors.get(name, [])):
            return {}
        stack = self.stacks[index]
        squares, dots = displacement(self.anchors[name][index], weights, stack.reductions, stack.buffers[1:])
        return {f"delta_ms_{name}": squares, f"delta_dot_{name}": dots}

    def _anchor(self, index: int, name: str, weights: Tensor) -> None:
        """Keep the weights as the start of a window, in the memory of the window before."""
        kept = self.anchors.setdefault(name, [])
        if index < len(kept):
            kept[index].copy_(weights)
        else:
            kept.append(weights.clone())

    def _record(self, stats: list[Stats]) -> None:
        """Add what was measured of each stack; NaN where a stack lacks a statistic that another one has."""
        names = list(dict.fromkeys(name for each in stats for name in each))
        if not names:
            return
        absent = [self.order.new_full((len(stack.places),), torch.nan, dtype=torch.float32)
                  for stack in self.stacks]
        parts = [torch.stack([each.get(name, nan) for name in names]).to(self.order.device, torch.float64)
                 for each, nan in zip(stats, absent, strict=True)]
        self.records.append((self.steps, names, torch.cat(parts, 1)[:, self.order]))

    def _add(self, stats: Stats) -> None:
        """Add statistics of all matrices in their own order."""
        if stats:
            values = torch.stack(list(stats.values())).to(self.order.device)
            self.records.append((self.steps, list(stats), values))

    def _before_update(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        """Gradients are there, unless a closure computes them: then they are measured after it."""
        closure = kwargs.get("closure") or next(iter(args[1:]), None)
        if closure is None:
            self._before_scaled(optimizer)
            return None

        def measured() -> Any:
            loss = closure()
            self._before_scaled(optimizer)
            return loss

        return (args[0], measured, *args[2:]), {key: kwargs[key] for key in kwargs if key != "closure"}

    def _before_scaled(self, optimizer: torch.optim.Optimizer) -> None:
        """A fused optimizer takes GradScaler's scale out of the gradients by itself, later than this."""
        if self.ready:
            return
        self.before_step()
        scale = getattr(optimizer, "grad_scale", None)
        if isinstance(scale, Tensor):
            for _, stats in self._before:
                if "grad_norm" in stats:
                    stats["grad_norm"] = stats["grad_norm"] / scale

    def _after_update(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._after_step()

    def frame(self) -> pd.DataFrame:
        """Columns step, name, layer, role, stat, value: one row per measurement, in the order measured."""
        parts = [self._rows(step, names, values) for step, names, values in self.records]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)

    def _rows(self, step: int, names: list[str], values: Tensor) -> pd.DataFrame:
        measured = [(stat, parameter) for stat in names for parameter in self.parameters]
        return pd.DataFrame({
            "step": step,
            "name": [parameter.name for _, parameter in measured],
            "layer": [parameter.layer for _, parameter in measured],
            "role": [parameter.role for _, parameter in measured],
            "stat": [stat for stat, _ in measured],
            "value": values.flatten().cpu().numpy(),
        })

    def flush(self) -> None:
        """Bring the file up to date."""
        self.dumps = 0
        if self.write is not None:
            table = self.frame()
            self.write(table, self.written)
            self.written = len(table)

    def close(self) -> None:
        """Stop watching the optimizer and the layers, and write what is left."""
        for handle in self.handles:
            handle.remove()
        self.handles = []
        if self.activations is not None:
            self.activations.close()
        self.flush()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to end with the same table, on any device and number of processes.

        Where weights are sharded every process must call this; the first one's state is the whole one.
        """
        anchors = {name: {place: stack.whole(index, rows[index])
                          for stack, rows in zip(self.stacks, kept, strict=True)
                          for index, place in enumerate(stack.places)}
                   for name, kept in self.anchors.items()}
        return {"anchors": anchors, "records": [list(record) for record in self.records], "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave the first process; the file is then written anew."""
        self.steps, self.written = state["steps"], 0
        if not self.measures_here:
            return
        self.anchors = {name: [_stacked(kept, stack) for stack in self.stacks]
                        for name, kept in state["anchors"].items()}
        device = self.order.device
        self.records = [(step, names, values.to(device)) for step, names, values in state["records"]]
        if self.activations is not None:
            self.activations.due = self.schedule(self.steps + 1)


def _stacks(model: nn.Module, pieces: Sequence[Piece], optimizer: torch.optim.Optimizer | None
            ) -> list[Stack]:
    """All pieces in stacks. Every process must call this where any parameter is sharded."""
    stacks = stacks_of(model, pieces, optimizer)
    if not any(map(is_sharded, model.parameters())):
        return stacks
    from variance_dynamics.tracking.sharded import sharded_stacks  # its imports take .8 s

    return sharded_stacks(stacks)


def _stacked(kept: Mapping[int, Tensor], stack: Stack) -> Tensor:
    """The rows of a stack that this process holds, [M, N], on its device, from those of whole matrices."""
    rows = [stack.part(index, kept[place]) for index, place in enumerate(stack.places)]
    return torch.stack(rows).to(stack.weights[0].device)


def _checked_measures(measure: Collection[str] | None, optimizer: torch.optim.Optimizer | None
                      ) -> Collection[str]:
    if measure is None:
        return (WEIGHTS, GRADIENTS, UPDATES) if optimizer else (WEIGHTS,)
    names = [measure] if isinstance(measure, str) else list(measure)
    for name in names:
        if name not in MEASURES:
            raise BadInput(f"measure holds {name!r}: expected some of {', '.join(MEASURES)}")
        if optimizer is None and name in NEED_OPTIMIZER:
            raise BadInput(f"measure holds {name!r}, optimizer is None: expected Tracker(model, optimizer)")
    return names


def _checked_windows(windows: Iterable[int], measure: Collection[str]) -> list[int]:
    windows = list(windows)
    for window in windows:
        if not isinstance(window, int) or window < 1:
            raise BadInput(f"windows holds {window!r}: expected whole numbers of steps, 1 or more")
    if windows and DISPLACEMENT not in measure:
        raise BadInput(f"windows is {windows}, without \"displacement\" in measure: expected both or neither")
    return windows


def _every(every: int) -> IsDue:
    if not isinstance(every, int) or every < 1:
        raise BadInput(f"every is {every!r}: expected a whole number of steps, 1 or more")
    return lambda step: step % every == 0


def _by_name(model: nn.Module, patterns: Mapping[str, str] | None, config: Mapping[str, Any] | None
             ) -> list[Piece]:
    """The weight matrices by what the parameters' names say; a warning names those of no known role."""
    # The study gives `matrices`. Imported here, an edit of the name patterns does not train its GPT-2 again.
    from variance_dynamics.roles.of_model import roles_of

    roles = roles_of(model, patterns, config)
    pieces = [piece for piece in roles.pieces if math.prod(piece.shape)]
    if not pieces:
        raise BadInput(f"{type(model).__name__}: no weight matrix to track: expected a model with some")
    unknown = [piece.parameter.name for piece in roles.unknown]
    if unknown:
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        warnings.warn(f"no role known of {', '.join(unknown[:SHOWN])}{more}: tracked whole, as 'unknown'; "
                      "patterns={regex: role} says what they are", stacklevel=3)
    return pieces


def _rank() -> int:
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
