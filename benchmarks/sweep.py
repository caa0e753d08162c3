"""Model-steps per second of a std grid: ours, a plain loop, torch.func.vmap, JAX, and the products alone.

All train the same MLPs on the same minibatches with SGD; their losses are compared before anything is timed.
Ours is `train_grid` as the stages call it, with the drawing of the weights and the evaluation. JAX is
compiled beforehand. The plain loop trains only `LOOPED` models, one after another; each other one would take
as long. The data are clusters of the shape of Wine, digits and MNIST. The grid of stds ends at twice the
critical one, so that no model dies: ours leaves dead models out, which would say nothing about its speed.
"""

import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise

import numpy as np
import torch
from measure import Row, against, rates, spread
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional as F

from study.base.labelled import Labelled
from study.mlp.ensemble import Dataset
from study.mlp.grid import MlpGroup, Variant, batches, chunks, flops, initial, shape, train_grid
from study.mlp.net import Mlps
from study.mlp.params import TrainingPlan
from variance_dynamics.base.machine import all_cores

LR = 1e-3
LOOPED = 3
OURS, CHUNKS, WHOLE = "ours", "products alone, in our chunks", "products alone, all models"
COMPARED = 10
"""Steps over which losses must agree, within `CLOSE` of each other."""
CLOSE = 1e-3
Losses = NDArray[np.floating]


@dataclass(frozen=True)
class Case:
    """A shape, and how many steps a timed call takes (fewer for vmap, which is slower)."""

    name: str
    sizes: tuple[int, ...]
    batch: int
    models: int
    rows: int
    steps: int
    vmap_steps: int

    def __str__(self) -> str:
        return f"{self.name} {'-'.join(map(str, self.sizes))}, batch {self.batch}, {self.models} models"


CASES = [
    Case("wine", (13, 64, 64, 3), 32, 200, 124, 600, 100),
    Case("digits", (64, 128, 128, 128, 10), 128, 200, 1257, 50, 10),
    Case("mnist", (784, 128, 128, 128, 128, 10), 128, 100, 4000, 50, 10),
]


class Setting:
    """A case's data, minibatches and initial weights, and each way to train it, which gives losses [M, T]."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.labelled = clusters(case.sizes[0], case.sizes[-1], case.rows)
        self.data = Dataset(self.labelled)
        width, depth = case.sizes[1], len(case.sizes) - 1
        stds = np.geomspace(1e-4, 2 * np.sqrt(2 / width), case.models)
        models = tuple(Variant("normal", float(std), LR) for std in stds)
        self.group = MlpGroup(case.name, "sgd", depth, width, 0, case.batch, models)
        self.x, self.y = self.data.x["train"], self.data.y["train"]

    def order(self, steps: int) -> Tensor:
        return batches(0, self.case.name, self.case.rows, self.case.batch, steps)

    def start(self) -> Mlps:
        return initial(self.group, self.group.models, self.data)

    def ours(self, steps: int) -> Losses:
        schedule = TrainingPlan(steps, eval_every=steps, eval_rows=1)
        with redirect_stderr(StringIO()):  # its progress
            (_, arrays), = train_grid([self.group], {self.case.name: self.labelled}, schedule, {"sgd": {}})
        return arrays["train_loss"].T

    def loop(self, steps: int) -> Losses:
        """The last models of the grid in the training loop that one writes by hand."""
        return np.stack([self._alone(i, steps) for i in range(-LOOPED, 0)])

    def _alone(self, i: int, steps: int) -> Losses:
        net, losses = self._module(i), []
        optimizer = torch.optim.SGD(net.parameters(), lr=LR)
        for rows in self.order(steps):
            loss = F.cross_entropy(net(self.x[rows]), self.y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).numpy()

    def _module(self, i: int) -> nn.Module:
        layers = [module for pair in pairwise(self.case.sizes) for module in (nn.Linear(*pair), nn.ReLU())]
        net = nn.Sequential(*layers[:-1])
        mlps = self.start()
        with torch.no_grad():
            for layer, weight, bias in zip(net[::2], mlps.weights, mlps.biases, strict=True):
                layer.weight.copy_(weight[i])
                layer.bias.copy_(bias[i])
        return net

    def vmap(self, steps: int) -> Losses:
        net, mlps, losses = self._module(0), self.start(), []
        names = [name.rsplit(".", 1)[0] for name, _ in net.named_parameters()][::2]
        parameters = {f"{name}.weight": value for name, value in zip(names, mlps.weights, strict=True)}
        parameters |= {f"{name}.bias": value for name, value in zip(names, mlps.biases, strict=True)}

        def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(net, parameters, (x,)), y)

        step = vmap(grad_and_value(loss), in_dims=(0, None, None))
        for rows in self.order(steps):
            gradients, losses_now = step(parameters, self.x[rows], self.y[rows])
            for name, gradient in gradients.items():
                parameters[name].sub_(gradient, alpha=LR)
            losses.append(losses_now)
        return torch.stack(losses, 1).numpy()

    def jax(self, steps: int) -> Callable[[], Losses]:
        """The compiled program for so many steps."""
        import jax
        import jax.numpy as jnp

        def loss(layers, x, y):
            for weight, bias in layers[:-1]:
                x = jax.nn.relu(x @ weight + bias)
            weight, bias = layers[-1]
            return -jax.nn.log_softmax(x @ weight + bias)[jnp.arange(len(y)), y].mean()

        def train(layers, x, y, order):
            def step(layers, rows):
                loss_now, gradients = jax.value_and_grad(loss)(layers, x[rows], y[rows])
                return jax.tree.map(lambda a, g: a - LR * g, layers, gradients), loss_now

            return jax.lax.scan(step, layers, order)[1]

        mlps = self.start()
        layers = [(w.mT.numpy(), b.numpy()) for w, b in zip(mlps.weights, mlps.biases, strict=True)]
        given = (layers, self.x.numpy(), self.y.int().numpy(), self.order(steps).int().numpy())
        given = jax.tree.map(jnp.asarray, given)
        program = jax.jit(jax.vmap(train, in_axes=(0, None, None, None))).lower(*given).compile()
        return lambda: np.asarray(program(*given))

    def products(self, models: int, steps: int) -> None:
        """A step's batched matrix products alone, on tensors of its shapes, whose numbers keep their size."""
        samples = self.case.batch
        sizes = [(p.fan_out, p.fan_in) for p in shape(self.group, self.data)]
        weights = [torch.full((models, *size), math.prod(size) ** -0.5) for size in sizes]
        gradients = [torch.empty_like(weight) for weight in weights]
        inputs, deltas = ([torch.ones(models, size[i], samples) for size in sizes] for i in (1, 0))
        with torch.inference_mode():
            for _ in range(steps):
                for weight, x, delta in zip(weights, inputs, deltas, strict=True):
                    torch.bmm(weight, x, out=delta)
                for layer in reversed(range(len(sizes))):
                    if layer:
                        torch.bmm(weights[layer].mT, deltas[layer], out=inputs[layer])
                    torch.bmm(deltas[layer], inputs[layer].mT, out=gradients[layer])

    def products_in_chunks(self, steps: int) -> None:
        """The same for our chunks of models, one thread on each core."""
        with ThreadPoolExecutor(all_cores(), initializer=lambda: torch.set_num_threads(1)) as pool:
            parts = chunks(self.group, self.data)
            list(pool.map(lambda part: self.products(len(part), steps), parts))


def clusters(features: int, classes: int, rows: int) -> Labelled:
    """Gaussian clusters, one for each class, with 200 more rows to evaluate on."""
    random = np.random.default_rng(0)
    y = random.integers(0, classes, rows + 200)
    x = random.standard_normal((classes, features))[y] + random.standard_normal((len(y), features))
    parts = {"train": slice(0, rows), "val": slice(rows, rows + 100), "test": slice(rows + 100, None)}
    x_of = {name: x[part].astype(np.float32) for name, part in parts.items()}
    return Labelled(x_of, {name: y[part] for name, part in parts.items()}, classes)


def check(setting: Setting, with_jax: bool = True) -> float:
    """The largest relative difference of a peer's losses from ours; AssertionError where it is not small."""
    ours = setting.ours(COMPARED)
    theirs = {"loop": setting.loop(COMPARED), "vmap": setting.vmap(COMPARED)}
    if with_jax:
        theirs["jax"] = setting.jax(COMPARED)()
    worst = {name: np.abs(losses / ours[-len(losses):] - 1).max() for name, losses in theirs.items()}
    assert all(value < CLOSE for value in worst.values()), worst
    return float(max(worst.values()))


def compare(case: Case, rounds: int) -> list[Row]:
    """Everyone's rate on one case, and ours over it; `share` is ours over the faster products alone."""
    setting, steps, few = Setting(case), case.steps, case.vmap_steps
    torch.set_num_threads(all_cores())
    check(setting)
    all_steps = float(case.models * steps)
    measured = rates({
        OURS: (lambda: setting.ours(steps), all_steps),
        "JAX jit(vmap(scan))": (setting.jax(steps), all_steps),
        CHUNKS: (lambda: setting.products_in_chunks(steps), all_steps),
        WHOLE: (lambda: setting.products(case.models, few), float(case.models * few)),
        "torch.func.vmap": (lambda: setting.vmap(few), float(case.models * few)),
        "plain PyTorch loop": (lambda: setting.loop(steps), float(LOOPED * steps)),
    }, rounds)  # fmt: skip
    work = flops(setting.group, setting.data) / 1e9
    best = max((CHUNKS, WHOLE), key=lambda name: spread(measured[name])["median"])
    return [
        {"bench": "sweep", "shape": str(case), "peer": name, "unit": "model-steps/s", **spread(values),
         **against(measured, OURS, name), "gflops": round(spread(values)["median"] * work, 1),
         **({"share": against(measured, OURS, best)["ratio_median"]} if name == OURS else {})}
        for name, values in measured.items()
    ]  # fmt: skip


def rows(rounds: int = 5, cases: list[Case] = CASES) -> list[Row]:
    """Every case; under five minutes on two cores."""
    return [row for case in cases for row in compare(case, rounds)]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
