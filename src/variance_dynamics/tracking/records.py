"""What a tracker has measured: its table, and where the rows go."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from variance_dynamics.base.errors import BadInput
from variance_dynamics.tracking.writers import Writer, writer
from variance_dynamics.weights.parameter import Parameter

COLUMNS = ["step", "name", "layer", "role", "stat", "value"]
Sink = Callable[[pd.DataFrame], object]
"""Takes new rows of the table, as soon as they are measured."""
Record = tuple[int, list[str], list[int], Tensor]
"""Step, names of statistics, places of matrices among `parameters`, values [statistic, matrix]."""


class Records:
    """Measurements in the order in which they were made; a file and a sink that get them.

    A file that was there before is neither overwritten nor extended, but after `resume`.
    """

    def __init__(self, parameters: Sequence[Parameter], path: str | Path | None, sink: Sink | None) -> None:
        self.parameters, self.sink = parameters, sink
        self.all: list[Record] = []
        self.path = Path(path) if path is not None else None
        self.write: Writer | None = writer(path) if path is not None else None
        self.written = self.given = 0
        self.foreign = self.path is not None and self.path.exists()

    def add(self, record: Record) -> None:
        """Keep a measurement; its values stay on their device."""
        self.all.append(record)

    def refuse_overwriting(self) -> None:
        """Raises BadInput if the file is another run's."""
        if self.foreign:
            raise BadInput(f"path is {str(self.path)!r}, a file that exists: expected a new name, or "
                           "load_state_dict with the state of the run that wrote it, before the first step")

    def give(self) -> None:
        """Give the sink what is new; this waits for the device."""
        new, self.given = self.all[self.given:], len(self.all)
        if self.sink is not None and new:
            self.sink(self._frame(new))

    def flush(self) -> None:
        """Bring the file up to date."""
        if self.write is not None:
            self.refuse_overwriting()
            table = self.frame()
            self.write(table, self.written)
            self.written = len(table)

    def frame(self) -> pd.DataFrame:
        """One row per measurement; COLUMNS."""
        return self._frame(self.all)

    def _frame(self, records: Sequence[Record]) -> pd.DataFrame:
        parts = [self._rows(*record) for record in records]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)

    def _rows(self, step: int, names: list[str], places: list[int], values: Tensor) -> pd.DataFrame:
        measured = [(stat, self.parameters[place]) for stat in names for place in places]
        return pd.DataFrame({
            "step": step,
            "name": [parameter.name for _, parameter in measured],
            "layer": [parameter.layer for _, parameter in measured],
            "role": [parameter.role for _, parameter in measured],
            "stat": [stat for stat, _ in measured],
            "value": values.flatten().cpu().numpy(),
        })

    def state(self) -> list[list[Any]]:
        """All that `resume` needs."""
        return [list(record) for record in self.all]

    def resume(self, state: list[list[Any]], device: Any) -> None:
        """Continue from what `state` gave; the file is then written anew, and the sink gets what is new."""
        self.all = [(step, names, places, values.to(device)) for step, names, places, values in state]
        self.written, self.given, self.foreign = 0, len(self.all), False
