"""Statistics of weight matrices while a module trains: batched per shape, on their device, fetched late.

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
COLUMNS = ["step", "layer", "role", "stat", "value"]
Stats = dict[str, Tensor]


@dataclass(frozen=True)
class Group:
    """Matrices of one shape and one of the optimizer's groups, which are measured together."""

    places: list[int]
    weights: list[nn.Parameter]
    owner: int | None

    def stacked(self) -> Tensor:
        """A copy of the weights, one a row, [M, N]; half precision as float32."""
        return _wide(torch.stack([weight.detach().flatten() for weight in self.weights]))

    def gradients(self) -> Tensor:
        """The gradients, [M, N]; NaN where there is none."""
        grads = [torch.full_like(w, torch.nan) if w.grad is None else w.grad for w in self.weights]
        return _wide(torch.stack([grad.flatten() for grad in grads]))


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


class Tracker:
    """Measures `parameters` of `model` at the steps that `schedule` names; step 0 is the initial state.

    With an optimizer, also the normalised update (before lr and decoupled decay) and Adam's epsilon share.
    For each window of W steps, and from the initial state, the displacement: see `displacement`.
    Nothing waits for the device before `frame` or `state_dict`.
    """

    def __init__(self, model: nn.Module, parameters: list[Parameter], schedule: Schedule,
                 optimizer: torch.optim.Optimizer | None = None, windows: Iterable[int] = ()) -> None:
        self.parameters, self.schedule, self.optimizer = parameters, schedule, optimizer
        self.groups = _grouped(model, parameters, optimizer)
        order = torch.tensor([place for group in self.groups for place in group.places]).argsort()
        self.order = order.to(self.groups[0].weights[0].device)
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
        names = list(dict.fromkeys(name for found in stats for name in found))
        if not names:
            return
        absent = [self.order.new_full((len(group.places),), torch.nan, dtype=torch.float64)
                  for group in self.groups]
        parts = [torch.stack([found.get(name, nan).double() for name in names])
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
            counts, scales = zip(*counted, strict=True)
            self.records.append((step, torch.cat(counts), torch.cat(scales)))

    def frame(self) -> pd.DataFrame:
        """Columns step, layer, role, left, right, count: one row per bin."""
        edges = torch.linspace(-1, 1, self.bins + 1, dtype=torch.float64)
        parts = [self._rows(step, *row)
                 for step, counts, scales in self.records
                 for row in zip(self.parameters, counts.cpu(), edges * scales.cpu()[:, None], strict=True)]
        columns = ["step", "layer", "role", "left", "right", "count"]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)

    def _rows(self, step: int, parameter: Parameter, count: Tensor, edges: Tensor) -> pd.DataFrame:
        return pd.DataFrame({"step": step, "layer": parameter.layer, "role": parameter.role,
                             "left": edges[:-1].numpy(), "right": edges[1:].numpy(), "count": count.numpy()})

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to end with the same table."""
        return {"records": [list(record) for record in self.records]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.records = [(step, counts, scales) for step, counts, scales in state["records"]]


def _grouped(
    model: nn.Module, parameters: list[Parameter], optimizer: torch.optim.Optimizer | None
) -> list[Group]:
    settings = optimizer.param_groups if optimizer else []
    owner = {id(weight): index for index, group in enumerate(settings) for weight in group["params"]}
    alike: dict[tuple[torch.Size, torch.dtype, int | None], list[int]] = defaultdict(list)
    weights = [model.get_parameter(parameter.name) for parameter in parameters]
    for place, weight in enumerate(weights):
        alike[weight.shape, weight.dtype, owner.get(id(weight))].append(place)
    return [Group(places, [weights[place] for place in places], index)
            for (_, _, index), places in alike.items()]


def _gradient_stats(group: Group) -> Stats:
    shared = Matrices(group.gradients())
    return {f"grad_{name}": STATS[name](shared) for name in GRADIENT_STATS}


def _update_stats(optimizer: torch.optim.Optimizer, group: Group, before: Tensor, after: Tensor) -> Stats:
    """Rms of u = (after - (1 - lr wd) before) / lr, wd if decoupled; epsilon share where Adam's v is."""
    if group.owner is None:
        return {}
    settings = optimizer.param_groups[group.owner]
    lr, decoupled = settings["lr"], isinstance(optimizer, torch.optim.AdamW)
    decay = lr * settings["weight_decay"] if decoupled else 0.0
    update = (after - before).add_(before, alpha=decay).div_(lr)
    stats = {"update_rms": STATS["rms"](Matrices(update))}
    states = [optimizer.state[weight] for weight in group.weights]
    if all("exp_avg_sq" in state for state in states):
        seconds = _wide(torch.stack([state["exp_avg_sq"].flatten() for state in states]))
        done = torch.stack([torch.as_tensor(state["step"]) for state in states]).double().to(seconds.device)
        correction = (1 - settings["betas"][1] ** done)[:, None].to(seconds.dtype)
        stats["epsilon_share"] = epsilon_share(seconds, correction, settings["eps"])
    return stats
