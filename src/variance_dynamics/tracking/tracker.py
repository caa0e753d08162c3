"""Statistics of weight matrices while a module trains: batched per shape, on their device, fetched at the end.

    tracker = Tracker(model, matrices, schedule, optimizer, windows=(10, 100))
    tracker.after_step(0)                   # the initial state
    for step in range(1, steps + 1):
        loss.backward()
        tracker.before_step(step)           # gradients are there, the update is not
        optimizer.step()
        tracker.after_step(step)
    table = tracker.frame()
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from variance_dynamics.roles import Parameter
from variance_dynamics.tracking.schedule import Schedule
from variance_dynamics.tracking.statistics import STATS, Matrices, displacement, epsilon_share, histogram

WEIGHT_STATS = ("std", "mean", "rms", "absmax", "kurtosis")
GRADIENT_STATS = ("norm", "kurtosis")
INIT = "init"
Stats = dict[str, Tensor]


@dataclass(frozen=True)
class Group:
    """Matrices of one shape, which are measured together."""

    places: list[int]
    weights: list[nn.Parameter]

    def stacked(self) -> Tensor:
        """A copy of the weights, one a row, [M, N]."""
        return torch.stack([weight.detach().flatten() for weight in self.weights])

    def gradients(self) -> Tensor:
        """The gradients, [M, N]; NaN where there is none."""
        return torch.stack([torch.full_like(weight, torch.nan).flatten() if weight.grad is None
                            else weight.grad.detach().flatten() for weight in self.weights])


class Tracker:
    """Measures `parameters` of `model` at the steps that `schedule` names; step 0 is the initial state.

    With an optimizer, also the normalised update (before lr and decoupled decay) and Adam's epsilon share.
    For each window of W steps, and from the initial state, the displacement: see `displacement`.
    Nothing waits for the device before `frame` or `state_dict`.
    """

    def __init__(self, model: nn.Module, parameters: list[Parameter], schedule: Schedule,
                 optimizer: torch.optim.Optimizer | None = None, windows: Iterable[int] = ()) -> None:
        self.parameters, self.schedule, self.optimizer = parameters, schedule, optimizer
        self.groups = _grouped(model, parameters)
        self.windows = list(windows)
        self.anchors: dict[str, list[Tensor]] = {}
        self.records: list[tuple[int, list[str], Tensor]] = []
        self._before: list[tuple[Tensor, Stats]] = []

    @torch.no_grad()
    def before_step(self, step: int) -> None:
        """Keep what the update numbered `step` (from 1) will change; gradients as they are now, unclipped."""
        if self.schedule(step):
            self._before = [(group.stacked(), _gradient_stats(group)) for group in self.groups]

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Measure the state after `step` updates."""
        due = [str(window) for window in self.windows if step % window == 0]
        dumped = self.schedule(step)
        if not dumped and not due and step:
            return
        now = [group.stacked() for group in self.groups]
        stats: list[Stats] = [{} for _ in self.groups]
        for index, weights in enumerate(now):
            if dumped:
                stats[index] = self._dump(index, weights)
            for name in ([INIT] if dumped else []) + due:
                stats[index] |= self._moved(index, name, weights)
        for name in due + ([] if step else [INIT]):
            self.anchors[name] = now
        self._before = []
        self._record(step, stats)

    def _dump(self, index: int, weights: Tensor) -> Stats:
        shared = Matrices(weights)
        stats = {name: STATS[name](shared) for name in WEIGHT_STATS}
        if self._before:
            before, gradient = self._before[index]
            stats |= gradient
            if self.optimizer is not None:
                stats |= _update_stats(self.optimizer, self.groups[index], before, weights)
        return stats

    def _moved(self, index: int, name: str, weights: Tensor) -> Stats:
        if name not in self.anchors:
            return {}
        squares, dots = displacement(self.anchors[name][index], weights)
        return {f"delta_ms_{name}": squares, f"delta_dot_{name}": dots}

    def _record(self, step: int, stats: list[Stats]) -> None:
        names = list(stats[0])
        if not names:
            return
        values = torch.cat([torch.stack([group[name].double() for name in names]) for group in stats], 1)
        order = torch.tensor([place for group in self.groups for place in group.places])
        self.records.append((step, names, values[:, order.argsort().to(values.device)]))

    def frame(self) -> pd.DataFrame:
        """Columns step, layer, role, stat, value: one row per measurement, in the order of measuring."""
        parts = [self._rows(step, names, values) for step, names, values in self.records]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["step", "layer", "role", "stat", "value"])

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
        """All that a resumed run needs to end with the same table."""
        return {"anchors": self.anchors, "records": [list(record) for record in self.records]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, onto the parameters' device."""
        device = self.groups[0].weights[0].device
        self.anchors = {name: [rows.to(device) for rows in kept] for name, kept in state["anchors"].items()}
        self.records = [(step, names, values.to(device)) for step, names, values in state["records"]]


class Histograms:
    """Histograms of a few matrices over [-absmax, absmax] at the steps that `schedule` names."""

    def __init__(self, model: nn.Module, parameters: list[Parameter], schedule: Schedule, bins: int) -> None:
        self.parameters, self.schedule, self.bins = parameters, schedule, bins
        self.weights = [model.get_parameter(parameter.name) for parameter in parameters]
        self.records: list[tuple[int, Tensor, Tensor]] = []

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Count the weights after `step` updates."""
        if self.schedule(step) and self.weights:
            counted = [histogram(weight.detach().reshape(1, -1), self.bins) for weight in self.weights]
            self.records.append((step, torch.cat([c for c, _ in counted]), torch.cat([a for _, a in counted])))

    def frame(self) -> pd.DataFrame:
        """Columns step, layer, role, left, right, count: one row per bin."""
        rows = []
        edges = torch.linspace(-1, 1, self.bins + 1, dtype=torch.float64)
        for step, counts, scales in self.records:
            for parameter, count, scale in zip(self.parameters, counts.cpu(), scales.cpu().double(), strict=True):
                rows.append(pd.DataFrame({
                    "step": step, "layer": parameter.layer, "role": parameter.role,
                    "left": (edges[:-1] * scale).numpy(), "right": (edges[1:] * scale).numpy(), "count": count.numpy()}))
        columns = ["step", "layer", "role", "left", "right", "count"]
        return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to end with the same table."""
        return {"records": [list(record) for record in self.records]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.records = [(step, counts, scales) for step, counts, scales in state["records"]]


def _grouped(model: nn.Module, parameters: list[Parameter]) -> list[Group]:
    shapes: dict[tuple[torch.Size, torch.dtype], list[int]] = defaultdict(list)
    weights = [model.get_parameter(parameter.name) for parameter in parameters]
    for place, weight in enumerate(weights):
        shapes[weight.shape, weight.dtype].append(place)
    return [Group(places, [weights[place] for place in places]) for places in shapes.values()]


def _gradient_stats(group: Group) -> Stats:
    shared = Matrices(group.gradients())
    return {f"grad_{name}": STATS[name](shared) for name in GRADIENT_STATS}


def _update_stats(optimizer: torch.optim.Optimizer, group: Group, before: Tensor, after: Tensor) -> Stats:
    """Rms of u = (after - (1 - lr wd) before) / lr, wd if decoupled, and the epsilon share where Adam's v is."""
    settings = [_settings(optimizer, weight) for weight in group.weights]
    lr = after.new_tensor([s["lr"] for s in settings])[:, None]
    decoupled = isinstance(optimizer, torch.optim.AdamW)
    decay = after.new_tensor([s["lr"] * s["weight_decay"] if decoupled else 0.0 for s in settings])[:, None]
    update = (after - before).addcmul_(before, decay).div_(lr)
    stats = {"update_rms": STATS["rms"](Matrices(update))}
    states = [optimizer.state[weight] for weight in group.weights]
    if all("exp_avg_sq" in state for state in states):
        seconds = torch.stack([state["exp_avg_sq"].flatten() for state in states])
        done = torch.stack([torch.as_tensor(state["step"]) for state in states]).double().to(seconds.device)
        beta2, eps = settings[0]["betas"][1], settings[0]["eps"]
        stats["epsilon_share"] = epsilon_share(seconds, (1 - beta2**done)[:, None].to(seconds.dtype), eps)
    return stats


def _settings(optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> dict[str, Any]:
    return next(group for group in optimizer.param_groups if any(weight is p for p in group["params"]))
