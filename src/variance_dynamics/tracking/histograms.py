"""Histograms of weight matrices while a model trains, counted on their device and fetched late."""

from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from variance_dynamics.base.schedules import IsDue
from variance_dynamics.tracking.sharded import gathered
from variance_dynamics.weights.parameter import Parameter
from variance_dynamics.weights.statistics import histogram


class Histograms:
    """Histograms of a few matrices over [-absmax, absmax] at the steps at which `schedule` is true.

    A sharded matrix is gathered in order to be counted, so all processes must take part.
    """

    def __init__(self, model: nn.Module, parameters: list[Parameter], schedule: IsDue, bins: int) -> None:
        self.parameters, self.schedule, self.bins = parameters, schedule, bins
        self.weights = [model.get_parameter(parameter.name) for parameter in parameters]
        self.records: list[tuple[int, Tensor, Tensor]] = []

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Count the weights after `step` updates."""
        if self.schedule(step) and self.weights:
            counted = [histogram(gathered(weight.detach()).reshape(1, -1), self.bins)
                       for weight in self.weights]
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
        """Continue from what `state_dict` gave."""
        self.records = [(step, counts, scales) for step, counts, scales in state["records"]]
