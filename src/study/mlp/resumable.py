"""A grid whose finished groups are kept when the process is killed. The next run trains the others.

The tables have the same bytes as those of a run that was not killed.
"""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import asdict

import torch

from study.base import checkpoint
from study.base.labelled import Labelled
from study.mlp.grid import Arrays, MlpGroup, Options, train_grid
from study.mlp.params import TrainingPlan


class Resumable:
    """`train_grid` with a checkpoint folder for each finished group, named by its number, until `remove`."""

    def __init__(
        self, groups: list[MlpGroup], labelled: dict[str, Labelled], plan: TrainingPlan, options: Options
    ) -> None:
        self.groups, self.labelled, self.plan, self.options = groups, labelled, plan, options
        data = {name: fingerprint(labels) for name, labels in labelled.items()}
        facts = [asdict(group) for group in groups], data, asdict(plan), options
        self.place = checkpoint.folder(checkpoint.key(*facts))
        self.places = [self.place / f"group-{number}" for number in range(len(groups))]

    def train(self) -> Iterator[tuple[MlpGroup, Arrays]]:
        """Each group, in order, with its measurements."""
        kept = [checkpoint.latest(place) for place in self.places]
        left = [group for group, saved in zip(self.groups, kept, strict=True) if saved is None]
        if len(left) < len(kept):
            print(f"{len(kept) - len(left)} of {len(kept)} groups are finished already", file=sys.stderr)
        trained = train_grid(left, self.labelled, self.plan, self.options)
        for group, place, saved in zip(self.groups, self.places, kept, strict=True):
            if saved is not None:
                yield group, {name: value.numpy() for name, value in saved.items()}
                continue
            _, arrays = next(trained)
            state = {name: torch.from_numpy(value) for name, value in arrays.items()}
            checkpoint.save(place, self.plan.steps, state)
            yield group, arrays

    def remove(self) -> None:
        """Delete the checkpoints, once the tables are written."""
        for place in self.places:
            checkpoint.remove(place)
        checkpoint.remove(self.place)


def fingerprint(labels: Labelled) -> str:
    """sha256 of a dataset's arrays."""
    total = hashlib.sha256(str(labels.classes).encode())
    for split in sorted(labels.x):
        x, y = labels.x[split], labels.y[split]
        total.update(f"{split} {x.dtype} {x.shape} {y.dtype}".encode() + x.tobytes() + y.tobytes())
    return total.hexdigest()
