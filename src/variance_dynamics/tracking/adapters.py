"""The tracker inside other people's training loops. Their libraries are imported when asked for, not before.

    trainer = transformers.Trainer(..., callbacks=[hugging_face(every=100, path="weights.parquet")])
    trainer = lightning.Trainer(..., callbacks=[lightning(every=100, path="weights.parquet")])
"""

from importlib import import_module
from typing import Any

from torch.optim import Optimizer

from variance_dynamics.errors import BadInput
from variance_dynamics.tracking.track import Tracker

LIGHTNING = ("lightning.pytorch", "pytorch_lightning")


def hugging_face(**options: Any) -> Any:
    """A transformers.TrainerCallback that tracks the Trainer's model; `options` are Tracker's.

    Its `tracker` is there once training has begun. Raises BadInput where transformers is not installed.
    """

    class Callback(_base("TrainerCallback", "transformers")):  # type: ignore[misc]
        tracker: Tracker | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None,
                           optimizer: Any = None, **rest: Any) -> None:
            self.tracker = Tracker(model, inner(optimizer), start=state.global_step, **options)

        def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if self.tracker is not None:
                self.tracker.flush()

        def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if self.tracker is not None:
                self.tracker.close()

    return Callback()


def lightning(**options: Any) -> Any:
    """A Lightning Callback that tracks the module with its first optimizer; `options` are Tracker's.

    Gradients are as before clipping. Its `tracker` is there once training has begun. Raises BadInput where
    Lightning is not installed.
    """

    class Callback(_base("Callback", *LIGHTNING)):  # type: ignore[misc]
        tracker: Tracker | None = None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            optimizer = inner(trainer.optimizers[0])
            self.tracker = Tracker(pl_module, optimizer, start=trainer.global_step, **options)

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            if self.tracker is not None and inner(optimizer) is self.tracker.optimizer:
                self.tracker.before_step()

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            if self.tracker is not None:
                self.tracker.close()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            self.on_train_end(trainer, pl_module)

    return Callback()


def inner(optimizer: Any) -> Any:
    """The torch optimizer inside what accelerate and Lightning wrap around it."""
    while isinstance(getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = optimizer.optimizer
    return optimizer


def _base(name: str, *libraries: str) -> Any:
    for library in libraries:
        try:
            return getattr(import_module(library), name)
        except ImportError:
            continue
    raise BadInput(f"{libraries[0]} is not installed: expected it for its callback (pip install it)")
