"""Statistics of weight matrices while a module trains: batched per shape, on their device, fetched late.

    tracker = Tracker(model, matrices, schedule, optimizer, windows=(10, 100))
    tracker.after_step(0)                   # the initial state
    for step in range(1, steps + 1):
        loss.backward()
        tracker.before_step(step)           # gradients are there, the update is not
        optimizer.step()
        tracker.after_step(step)
    table = tracker.frame()

On a CPU the cost is in passes over memory, so a batch is what the cache holds; on a GPU it is in launches, so
a batch is all that have one shape.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from variance_dynamics.tracking.schedule import Schedule
from variance_dynamics.weights.parameter import Parameter
from variance_dynamics.weights.pieces import Piece, Shape
from variance_dynamics.weights.statistics import (
    ROWS,
    STATS,
    Matrices,
    Rows,
    displacement,
    epsilon_share,
    root_mean_square,
)

KINDS = ("weights", "gradients", "updates", "displacement")
"""What is measured, each switched by name."""
WEIGHT_STATS = ("std", "mean", "rms", "absmax", "kurtosis")
GRADIENT_STATS = ("norm", "kurtosis")
INIT = "init"
COLUMNS = ["step", "layer", "role", "stat", "value"]
CACHED = 2**19
"""Elements of a batch on a CPU: few calls, each over memory that a core's caches still hold."""
SHARED = 2**20
"""Elements of the memory that batches on a CPU are worked in, in turn; larger ones take their own."""
Stats = dict[str, Tensor]


@dataclass(frozen=True)
class Group:
    """Matrices of one shape and one of the optimizer's groups, which are measured together."""

    places: list[int]
    pieces: list[Piece]
    weights: list[nn.Parameter]
    owner: int | None
    room: Sequence[Tensor | None] = (None, None, None)
    rows: Rows = ROWS

    def stacked(self, tensors: Sequence[Tensor], room: Tensor | None = None) -> Tensor:
        """The matrices' values in `tensors`, one a row, [M, N]; half precision as float32. May be a view."""
        cut = [self.values(piece, each).flatten() for piece, each in zip(self.pieces, tensors, strict=True)]
        if len(cut) == 1:
            return _wide(cut[0][None])
        return _wide(torch.stack(cut, out=room if room is not None and room.dtype == cut[0].dtype else None))

    def values(self, piece: Piece, tensor: Tensor) -> Tensor:
        """What of a matrix is measured here: all of it."""
        values: Tensor = piece.of(tensor)
        return values

    def now(self) -> Tensor:
        """The weights, [M, N]."""
        return self.stacked([weight.detach() for weight in self.weights], self.room[0])

    def copied(self, kept: list[Tensor]) -> Tensor:
        """The weights, [M, N], in memory of their own: on a CPU in that of the last copy, in `kept`."""
        if self.room[0] is None:
            return self.now().clone()
        if not kept:
            kept.append(torch.empty_like(self.room[0]))
        return kept[0].copy_(self.now())

    def gradients(self) -> Tensor:
        """The gradients, [M, N]; NaN where there is none."""
        grads = [torch.full_like(weight, torch.nan) if weight.grad is None else weight.grad
                 for weight in self.weights]
        return self.stacked(grads, self.room[0])


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


class Tracker:
    """Measures `matrices` of `model` at the steps that `schedule` names; step 0 is the initial state.

    A matrix is a whole parameter, or a piece of one where several are fused in a tensor. With an optimizer,
    also the normalised update (before lr and decoupled decay) and Adam's epsilon share. For each window of W
    steps, and from the initial state, the displacement: see `displacement`. `kinds` says which of these.
    Nothing waits for the device before `frame` or `state_dict`.
    """

    group = Group

    def __init__(self, model: nn.Module, matrices: Sequence[Parameter | Piece], schedule: Schedule,
                 optimizer: torch.optim.Optimizer | None = None, windows: Iterable[int] = (),
                 kinds: Collection[str] = KINDS) -> None:
        pieces = [_piece(model, matrix) for matrix in matrices]
        self.parameters = [piece.parameter for piece in pieces]
        self.schedule, self.optimizer, self.kinds = schedule, optimizer, kinds
        self.groups = self._grouped(model, pieces)
        order = torch.tensor([place for group in self.groups for place in group.places]).argsort()
        self.order = order.to(self.groups[0].weights[0].device)
        self.windows = list(windows)
        self.anchors: dict[str, list[Tensor]] = {}
        self.records: list[tuple[int, list[str], Tensor]] = []
        self._before: list[tuple[Tensor | None, Stats]] = []
        self._copies: list[list[Tensor]] = [[] for _ in self.groups]

    @torch.no_grad()
    def before_step(self, step: int) -> None:
        """Keep what the update numbered `step` (from 1) will change; gradients as they are now, unclipped."""
        if self.schedule(step):
            self._before = [(self._kept(index), self._gradient_stats(group))
                            for index, group in enumerate(self.groups)]

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Measure the state after `step` updates."""
        moving = "displacement" in self.kinds
        due = [str(window) for window in self.windows if moving and step % window == 0]
        dumped = self.schedule(step)
        if not dumped and not due and step:
            return
        stats: list[Stats] = []
        for index, group in enumerate(self.groups):
            weights = group.now()
            stats.append(self._dump(index, weights) if dumped else {})
            for name in [INIT] * dumped + due:
                stats[index] |= self._moved(index, name, weights)
            for name in due + [INIT] * (moving and not step):
                self._anchor(index, name, weights)
        self._before = []
        self._record(step, stats)

    def _kept(self, index: int) -> Tensor | None:
        if self.optimizer is None or "updates" not in self.kinds:
            return None
        return self.groups[index].copied(self._copies[index])

    def _gradient_stats(self, group: Group) -> Stats:
        if "gradients" not in self.kinds:
            return {}
        shared = Matrices(group.gradients(), group.rows, group.room[1])
        return {f"grad_{name}": STATS[name](shared) for name in GRADIENT_STATS}

    def _dump(self, index: int, weights: Tensor) -> Stats:
        group = self.groups[index]
        shared = Matrices(weights, group.rows, group.room[1])
        stats = {name: STATS[name](shared) for name in WEIGHT_STATS if "weights" in self.kinds}
        if self._before:
            before, gradient = self._before[index]
            stats |= gradient
            if self.optimizer is not None and before is not None:
                stats |= _update_stats(self.optimizer, group, before, weights)
        return stats

    def _moved(self, index: int, name: str, weights: Tensor) -> Stats:
        if index >= len(self.anchors.get(name, [])):
            return {}
        group = self.groups[index]
        squares, dots = displacement(self.anchors[name][index], weights, group.rows, group.room[1:])
        return {f"delta_ms_{name}": squares, f"delta_dot_{name}": dots}

    def _anchor(self, index: int, name: str, weights: Tensor) -> None:
        """Take the weights down as the start of a window, in the memory of the last one."""
        kept = self.anchors.setdefault(name, [])
        if index < len(kept):
            kept[index].copy_(weights)
        else:
            kept.append(weights.clone())

    def _record(self, step: int, stats: list[Stats]) -> None:
        names = list(dict.fromkeys(name for found in stats for name in found))
        if not names:
            return
        absent = [self.order.new_full((len(group.places),), torch.nan, dtype=torch.float32)
                  for group in self.groups]
        parts = [torch.stack([found.get(name, nan) for name in names]).to(self.order.device, torch.float64)
                 for found, nan in zip(stats, absent, strict=True)]
        self.records.append((step, names, torch.cat(parts, 1)[:, self.order]))

    def frame(self) -> pd.DataFrame:
        """Columns step, layer, role, stat, value: one row per measurement, in the order of measuring."""
        parts = [self._rows(step, names, values) for step, names, values in self.records]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)

    def _rows(self, step: int, names: list[str], values: Tensor) -> pd.DataFrame:
        places = [(stat, parameter) for stat in names for parameter in self.parameters]
        return pd.DataFrame({
            "step": step,
            "layer": [parameter.layer for _, parameter in places],
            "role": [parameter.role for _, parameter in places],
            "stat": [stat for stat, _ in places],
            "value": values.flatten().cpu().numpy(),
        })

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to end with the same table, on any device."""
        places = [place for group in self.groups for place in group.places]
        anchors = {name: dict(zip(places, [row for rows in kept for row in rows], strict=True))
                   for name, kept in self.anchors.items()}
        return {"anchors": anchors, "records": [list(record) for record in self.records]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, onto the parameters' device."""
        def rows(kept: dict[int, Tensor], group: Group) -> Tensor:
            return torch.stack([kept[place] for place in group.places]).to(group.weights[0].device)

        self.anchors = {name: [rows(kept, group) for group in self.groups]
                        for name, kept in state["anchors"].items()}
        device = self.order.device
        self.records = [(step, names, values.to(device)) for step, names, values in state["records"]]

    def _grouped(self, model: nn.Module, pieces: list[Piece]) -> list[Group]:
        settings = self.optimizer.param_groups if self.optimizer else []
        owner = {id(weight): index for index, group in enumerate(settings) for weight in group["params"]}
        weights = [model.get_parameter(piece.tensor) for piece in pieces]
        alike: dict[Any, list[int]] = defaultdict(list)
        for place, (piece, weight) in enumerate(zip(pieces, weights, strict=True)):
            alike[piece.shape, weight.dtype, weight.device, owner.get(id(weight))].append(place)
        room: Room = {}
        return [self.group(places, [pieces[place] for place in places], [weights[place] for place in places],
                           key[-1], _room(room, len(places), *key[:3]))
                for key, found in alike.items() for places in _batches(found, key[0], key[2])]


def _piece(model: nn.Module, matrix: Parameter | Piece) -> Piece:
    if isinstance(matrix, Piece):
        return matrix
    return Piece(matrix, matrix.name, tuple(model.get_parameter(matrix.name).shape))


def _batches(places: list[int], shape: Shape, device: torch.device) -> list[list[int]]:
    size = max(1, CACHED // max(1, math.prod(shape))) if device.type == "cpu" else len(places)
    return [places[start : start + size] for start in range(0, len(places), size)]


Room = dict[torch.dtype, list[Tensor]]


def _room(room: Room, matrices: int, shape: Shape, dtype: torch.dtype, device: torch.device
          ) -> Sequence[Tensor | None]:
    """Memory for three batches, [M, N] each, which all groups on a CPU share."""
    size = matrices * math.prod(shape)
    if device.type != "cpu" or dtype not in (torch.float32, torch.float64) or size > SHARED:
        return None, None, None
    flat = room.setdefault(dtype, [torch.empty(SHARED, dtype=dtype) for _ in range(3)])
    return [each[:size].view(matrices, -1) for each in flat]


def _update_stats(optimizer: torch.optim.Optimizer, group: Group, before: Tensor, after: Tensor) -> Stats:
    """Rms of u = (after - (1 - lr wd) before) / lr, wd if decoupled; epsilon share where Adam's v is."""
    if group.owner is None:
        return {}
    settings = optimizer.param_groups[group.owner]
    lr = settings["lr"]
    decoupled = settings.get("decoupled_weight_decay", isinstance(optimizer, torch.optim.AdamW))
    update = torch.sub(after, before, out=group.room[2])
    if decoupled and settings["weight_decay"]:
        update.add_(before.mul_(lr * settings["weight_decay"]))
    rms = root_mean_square(update, group.rows, group.room[1])
    stats = {"update_rms": rms / (lr if isinstance(lr, Tensor) else lr or math.nan)}  # no lr, no such update
    states = [optimizer.state.get(weight, {}) for weight in group.weights]
    if all({"exp_avg_sq", "step"} <= state.keys() for state in states):
        stats["epsilon_share"] = _epsilon_share(states, group, settings)
    return stats


def _epsilon_share(states: list[dict[str, Any]], group: Group, settings: dict[str, Any]) -> Tensor:
    seconds = group.stacked([state["exp_avg_sq"] for state in states], group.room[2])
    done = torch.stack([torch.as_tensor(state["step"]) for state in states]).double()
    correction = (1 - settings["betas"][1] ** done)[:, None]
    correction = correction.to(seconds.device, seconds.dtype, non_blocking=True)
    return epsilon_share(seconds, correction, settings["eps"], group.rows, group.room[1])
