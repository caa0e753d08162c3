"""A grid whose finished groups outlive a kill: the next run trains the rest and ends with the same bytes."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import asdict

import torch

from study.base import checkpoint
from study.base.labelled import Labelled
from study.mlp.ensemble import Schedule
from study.mlp.grid import Arrays, Group, Options, train_grid


class Resumable:
    """`train_grid` with a checkpoint folder for each finished group, by its number, until `remove`."""

    def __init__(
        self, groups: list[Group], labelled: dict[str, Labelled], schedule: Schedule, options: Options
    ) -> None:
        self.groups, self.labelled, self.schedule, self.options = groups, labelled, schedule, options
        data = {name: fingerprint(labels) for name, labels in labelled.items()}
        facts = [asdict(group) for group in groups], data, asdict(schedule), options
        self.place = checkpoint.folder(checkpoint.key(*facts))
        self.places = [self.place / f"group-{number}" for number in range(len(groups))]

    def train(self) -> Iterator[tuple[Group, Arrays]]:
        """Each group, in order, with its measurements."""
        kept = [checkpoint.latest(place) for place in self.places]
        left = [group for group, saved in zip(self.groups, kept, strict=True) if saved is None]
        if len(left) < len(kept):
            print(f"{len(kept) - len(left)} of {len(kept)} groups are finished already", file=sys.stderr)
        trained = train_grid(left, self.labelled, self.schedule, self.options)
        for group, place, saved in zip(self.groups, self.places, kept, strict=True):
            if saved is not None:
                yield group, {name: value.numpy() for name, value in saved.items()}
                continue
            _, arrays = next(trained)
            state = {name: torch.from_numpy(value) for name, value in arrays.items()}
            checkpoint.save(place, self.schedule.steps, state)
            yield group, arrays

    def remove(self) -> None:
        """Delete what was kept, once the whole is written."""
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
