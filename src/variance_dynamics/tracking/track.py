"""The tracker for anyone's own loop: it finds the roles, watches the optimizer and writes a table."""

import math
import sys
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from variance_dynamics.base.errors import BadInput
from variance_dynamics.roles.of_model import roles_of
from variance_dynamics.tracking import tracker
from variance_dynamics.tracking.activations import Activations
from variance_dynamics.tracking.schedule import Schedule
from variance_dynamics.tracking.tracker import KINDS, Group, Stats
from variance_dynamics.tracking.writers import writer
from variance_dynamics.weights.pieces import Piece

ACTIVATIONS = "activations"
MEASURES = (*KINDS, ACTIVATIONS)
NEED_OPTIMIZER = ("gradients", "updates", ACTIVATIONS)
FLUSH = 100
"""Dumps after which the file is brought up to date."""
SHOWN = 5
"""Unknown matrices that the warning names."""


class Tracker(tracker.Tracker):
    """Statistics of every weight matrix of `model` at every `every`-th update, step 0 being the state now.

    With an `optimizer`, its own `step` is watched: nothing more is to be called. Without one, call `step()`
    after each update; then weights and displacements only are measured.

    `measure` names what is measured: "weights" (std, mean, rms, absmax, excess kurtosis), "gradients" (norm,
    kurtosis), "updates" (update_rms, in units of lr and without decoupled decay, and Adam's epsilon_share),
    "displacement" (see `displacement`; keeps a copy of the weights, and one for each of `windows`, in steps),
    "activations" (like weights, of each layer's output; eager models only). `schedule`, step -> bool, goes
    before `every`. `patterns` maps regular expressions on names to roles ("ignore" leaves a parameter out);
    `config` says head counts where the model has no Hugging Face config. `path` ends in .parquet or .jsonl.
    `start` is the number of updates already done.

    Gradients are as the optimizer gets them: a sum over micro batches, clipped, unscaled under AMP. For those
    before clipping, call `before_step()` first. A step that GradScaler skips is none, but for fused
    optimizers, where it is an update of 0. Sharded parameters (FSDP2) are measured as whole matrices; make
    the tracker after sharding, on every rank. Rank 0 writes.

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
                 measure: Collection[str] | None = None, schedule: Schedule | None = None,
                 windows: Iterable[int] = (), patterns: Mapping[str, str] | None = None,
                 config: Mapping[str, Any] | None = None, path: str | Path | None = None,
                 start: int = 0) -> None:
        kinds = _checked(measure, optimizer)
        windows = _checked_windows(windows, kinds)
        self.rank = _rank()
        self.write = writer(path) if path is not None and self.rank == 0 else None
        pieces = _pieces(model, patterns, config)
        when = schedule or _every(every)
        here = self.rank == 0 or any(map(is_sharded, model.parameters()))
        super().__init__(model, pieces, when if here else _never, optimizer, windows if here else (), kinds)
        self.steps, self.written, self.dumps, self.ready = start, 0, 0, False
        self.activations = Activations(model, pieces) if ACTIVATIONS in kinds else None
        self.handles = [] if optimizer is None else [optimizer.register_step_pre_hook(self._before_update),
                                                     optimizer.register_step_post_hook(self._after_update)]
        self._measure(start)

    def before_step(self, step: int | None = None) -> None:
        """Measure gradients as they are now, of the update that comes; again if that was skipped."""
        self._before, self.ready = [], True
        super().before_step(self.steps + 1 if step is None else step)

    def after_step(self, step: int | None = None) -> None:
        """Measure the state after one more update."""
        self.steps = self.steps + 1 if step is None else step
        self.ready = False
        self._measure(self.steps)

    def step(self) -> None:
        """Say that an update has been done, where there is no optimizer to watch."""
        if self.handles:
            raise BadInput("step() of a tracker with an optimizer: expected none, its own step is watched")
        self.after_step()

    def _measure(self, step: int) -> None:
        super().after_step(step)
        if self.activations is not None:
            self._add(step, self.activations.take())
            self.activations.due = self.schedule(step + 1)
        self.dumps += self.schedule(step)
        if self.write is not None and self.dumps >= FLUSH:
            self.flush()

    def _add(self, step: int, stats: Stats) -> None:
        if stats:
            values = torch.stack(list(stats.values())).to(self.order.device)
            self.records.append((step, list(stats), values))

    def _before_update(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        """Gradients are there, unless a closure computes them; then after it."""
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
        self.after_step()

    def _grouped(self, model: nn.Module, pieces: list[Piece]) -> list[Group]:
        groups = super()._grouped(model, pieces)
        if not any(map(is_sharded, model.parameters())):
            return groups
        from variance_dynamics.tracking.sharded import sharded

        return sharded(groups)

    def _rows(self, step: int, names: list[str], values: Tensor) -> pd.DataFrame:
        table = super()._rows(step, names, values)
        table.insert(1, "name", [parameter.name for parameter in self.parameters] * len(names))
        return table

    def flush(self) -> None:
        """Bring the file up to date."""
        self.dumps = 0
        if self.write is not None:
            table = self.frame()
            self.write(table, self.written)
            self.written = len(table)

    def close(self) -> None:
        """Stop watching, and write what is left."""
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
        """All that a resumed run needs to end with the same table."""
        return {**super().state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave; the file is then written anew."""
        super().load_state_dict(state)
        self.steps, self.written = state["steps"], 0
        if self.activations is not None:
            self.activations.due = self.schedule(self.steps + 1)


def _checked(measure: Collection[str] | None, optimizer: torch.optim.Optimizer | None) -> Collection[str]:
    if measure is None:
        return ("weights", "gradients", "updates") if optimizer else ("weights",)
    names = [measure] if isinstance(measure, str) else list(measure)
    for name in names:
        if name not in MEASURES:
            raise BadInput(f"measure holds {name!r}: expected some of {', '.join(MEASURES)}")
        if optimizer is None and name in NEED_OPTIMIZER:
            raise BadInput(f"measure holds {name!r}, optimizer is None: expected Tracker(model, optimizer)")
    return names


def _checked_windows(windows: Iterable[int], kinds: Collection[str]) -> list[int]:
    found = list(windows)
    for window in found:
        if not isinstance(window, int) or window < 1:
            raise BadInput(f"windows holds {window!r}: expected whole numbers of steps, 1 or more")
    if found and "displacement" not in kinds:
        raise BadInput(f"windows is {found}, without \"displacement\" in measure: expected both or neither")
    return found


def _every(every: int) -> Schedule:
    if not isinstance(every, int) or every < 1:
        raise BadInput(f"every is {every!r}: expected a whole number of steps, 1 or more")
    return lambda step: step % every == 0


def _never(step: int) -> bool:
    return False


def _pieces(model: nn.Module, patterns: Mapping[str, str] | None, config: Mapping[str, Any] | None
            ) -> list[Piece]:
    found = roles_of(model, patterns, config)
    pieces = [piece for piece in found.pieces if math.prod(piece.shape)]
    if not pieces:
        raise BadInput(f"{type(model).__name__}: no weight matrix to track: expected a model with some")
    unknown = [piece.parameter.name for piece in found.unknown]
    if unknown:
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        warnings.warn(f"no role known of {', '.join(unknown[:SHOWN])}{more}: tracked whole, as 'unknown'; "
                      "patterns={regex: role} says what they are", stacklevel=3)
    return pieces


def _rank() -> int:
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def is_sharded(parameter: Tensor) -> bool:
    """Without importing what is slow to import and cannot be in use yet."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(parameter, module.DTensor)
