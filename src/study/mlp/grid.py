"""A grid of MLPs in groups: each group is one or more tensor programs, and each core computes one at a time.

A group is cut into chunks that fit in a core's cache. One thread computes a chunk, so that results do not
depend on the number of cores.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from study.base.labelled import Labelled
from study.mlp.ensemble import Dataset, Ensemble
from study.mlp.net import Mlps, matrices
from study.mlp.params import TrainingPlan
from study.mlp.updates import UPDATES
from variance_dynamics.base.machine import all_cores
from variance_dynamics.base.progress import progress
from variance_dynamics.base.seeding import numpy_generator
from variance_dynamics.weights.parameter import Parameter
from variance_dynamics.weights.schemes import SCHEMES

LAYER_BYTES = 2**21
"""The most bytes that one product of a chunk reads and writes (measured: docs/benchmarks.md)."""
Arrays = dict[str, NDArray[np.floating]]


@dataclass(frozen=True)
class Variant:
    """One model of a group: what distinguishes it from the others.

    `std` is nan for a scheme that fixes its std. `shared`: whether schemes are compared at this `lr`.
    """

    scheme: str
    std: float
    lr: float
    shared: bool = True


@dataclass(frozen=True)
class MlpGroup:
    """Models of one shape and seed: all get the same minibatches and the same standard normal draws."""

    dataset: str
    optimizer: str
    depth: int
    width: int
    seed: int
    batch_size: int
    models: tuple[Variant, ...]


def batches(seed: int, dataset: str, rows: int, batch_size: int, steps: int) -> torch.Tensor:
    """Training rows [steps, batch_size]: one permutation of all rows after another, cut into minibatches."""
    random = numpy_generator(seed, "batches", dataset)
    epochs = -(-steps * batch_size // rows)
    order = np.concatenate([random.permutation(rows) for _ in range(epochs)])
    return torch.from_numpy(order[: steps * batch_size].reshape(steps, batch_size))


def initial(group: MlpGroup, models: tuple[Variant, ...], data: Dataset) -> Mlps:
    """The models at step 0. Each scheme makes its weights from the same standard normal draw of a layer."""
    weights, biases = [], []
    for parameter in shape(group, data):
        random = numpy_generator(group.seed, "init", group.dataset, group.depth, group.width, parameter.name)
        z = torch.from_numpy(random.standard_normal((parameter.fan_in, parameter.fan_out), dtype=np.float32))
        weights.append(torch.stack([_draw(model, parameter, z) for model in models]).mT.contiguous())
        biases.append(torch.zeros(len(models), parameter.fan_out))
    return Mlps(weights, biases)


def _draw(model: Variant, parameter: Parameter, z: torch.Tensor) -> torch.Tensor:
    scheme = SCHEMES[model.scheme]
    return scheme.sample(z, scheme.std(parameter, model.std))


def shape(group: MlpGroup, data: Dataset) -> list[Parameter]:
    """The weight matrices of the group's models."""
    return matrices(data.features, group.width, group.depth, data.classes)


def flops(group: MlpGroup, data: Dataset) -> int:
    """Floating-point operations in the matrix products of one training step of one model."""
    sizes = [p.fan_in * p.fan_out for p in shape(group, data)]
    return 2 * group.batch_size * (3 * sum(sizes) - sizes[0])


def chunks(group: MlpGroup, data: Dataset) -> list[tuple[Variant, ...]]:
    """The group's models in order, in chunks of nearly equal size."""
    floats = max(p.fan_in * p.fan_out + (p.fan_in + p.fan_out) * group.batch_size for p in shape(group, data))
    models = len(group.models)
    count = min(models, -(-models * floats * 4 // LAYER_BYTES))
    bounds = [models * i // count for i in range(count + 1)]
    return [group.models[start:end] for start, end in pairwise(bounds)]


Options = dict[str, dict[str, Any]]
"""Settings by optimizer, without learning rates."""


def train_grid(
    groups: list[MlpGroup], labelled: dict[str, Labelled], plan: TrainingPlan, options: Options
) -> Iterator[tuple[MlpGroup, Arrays]]:
    """Train all groups; yield each, in order, with its measurements: names and shapes as in Record."""
    data = {name: Dataset(labels) for name, labels in labelled.items()}
    pool = ThreadPoolExecutor(all_cores(), initializer=_one_thread)
    with Meter(groups, data, plan.steps) as meter, pool:

        def start(group: MlpGroup) -> list[Future[Arrays]]:
            work = (data[group.dataset], plan, options[group.optimizer], meter)
            return [pool.submit(train, group, part, *work) for part in chunks(group, data[group.dataset])]

        started = [start(group) for group in groups]
        try:
            for group, futures in zip(groups, started, strict=True):
                yield group, _joined([future.result() for future in futures])
        finally:
            pool.shutdown(cancel_futures=True)


def train(
    group: MlpGroup,
    models: tuple[Variant, ...],
    data: Dataset,
    plan: TrainingPlan,
    options: dict[str, Any],
    meter: "Meter | None" = None,
) -> Arrays:
    """Train some of a group's models as one tensor program, in this thread."""
    order = batches(group.seed, group.dataset, len(data.y["train"]), group.batch_size, plan.steps)
    mlps = initial(group, models, data)
    lr = torch.tensor([model.lr for model in models], dtype=torch.float64)
    ensemble = Ensemble(mlps, UPDATES[group.optimizer](mlps, lr, **options), data, order, plan)
    if meter is None:
        return ensemble.run().arrays()
    return ensemble.run(meter.counter(len(models), flops(group, data))).arrays()


def _joined(parts: list[Arrays]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def _one_thread() -> None:
    """Set up a worker thread. Denormals are set to 0: they are slow, and common where signals vanish."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


class Meter:
    """Progress bar of the whole grid. It counts operations in matrix products, and shows model-steps/s."""

    def __init__(self, groups: list[MlpGroup], data: dict[str, Dataset], steps: int) -> None:
        total = sum(flops(group, data[group.dataset]) * len(group.models) * steps for group in groups)
        self.bar = progress(total=total, unit="FLOP", unit_scale=True)
        self.lock, self.model_steps = threading.Lock(), 0

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def counter(self, models: int, flops: int) -> Callable[[int], None]:
        """A function to call with the number of steps that a chunk of so many models has done."""

        def count(steps: int) -> None:
            with self.lock:
                self.model_steps += models * steps
                elapsed = self.bar.format_dict["elapsed"] or 1
                self.bar.set_postfix_str(f"{self.model_steps / elapsed:,.0f} model-steps/s", refresh=False)
                self.bar.update(models * steps * flops)

        return count
