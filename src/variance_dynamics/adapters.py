"""The tracker in the training loops of transformers and Lightning. Both are imported only when used.

    trainer = transformers.Trainer(..., callbacks=[hugging_face(every=100, path="weights.parquet")])
    trainer = lightning.Trainer(..., callbacks=[lightning(every=100, path="weights.parquet")])

The tracker's state is saved with their checkpoints, so that a resumed run ends with the whole table. Where
weights are sharded (FSDP2) every process must find the checkpoint.
"""

import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from variance_dynamics.base.atomic import replacing
from variance_dynamics.base.errors import BadInput
from variance_dynamics.tracking.optimizers import inner
from variance_dynamics.tracking.tracker import Tracker

LIGHTNING = ("lightning.pytorch", "pytorch_lightning")
STATE = "tracker.pt"
"""File of the tracker's state in a checkpoint's folder of transformers' Trainer."""


def hugging_face(**options: Any) -> Any:
    """A transformers.TrainerCallback that tracks the Trainer's model; `options` are Tracker's.

    Its `tracker` is made when training begins. Raises BadInput if transformers is not installed, and if
    training is resumed without the tracker's state while `path` exists.
    """

    class Callback(_base("TrainerCallback", "transformers")):  # type: ignore[misc]
        tracker: Tracker | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None,
                           optimizer: Any = None, **rest: Any) -> None:
            saved = _load(_checkpoint(args, state)) if state.global_step else None
            self.tracker = _started(model, optimizer, state.global_step, saved, options)

        def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if self.tracker is not None:
                self.tracker.flush()
                of_all = self.tracker.state_dict()  # in which every process must take part
                if self.tracker.rank == 0:
                    _save(_checkpoint(args, state), of_all)

        def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if self.tracker is not None:
                self.tracker.close()

    return Callback()


def lightning(**options: Any) -> Any:
    """A Lightning Callback that tracks the module with all its optimizers; `options` are Tracker's.

    Gradients are measured before clipping. Its `tracker` is made when training begins. Raises BadInput if
    Lightning is not installed, and if training is resumed without the tracker's state while `path` exists.
    """

    class Callback(_base("Callback", *LIGHTNING)):  # type: ignore[misc]
        tracker: Tracker | None = None
        saved: dict[str, Any] | None = None

        @property
        def state_key(self) -> str:
            return f"Tracker({Path(options.get('path') or '').name})"  # a key for each callback

        def state_dict(self) -> dict[str, Any]:
            return self.tracker.state_dict() if self.tracker is not None else {}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.saved = state_dict or None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.tracker = _started(pl_module, trainer.optimizers, trainer.global_step, self.saved, options)
            self.saved = None

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            if self.tracker is not None:
                self.tracker.before_step(inner(optimizer))

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            if self.tracker is not None:
                self.tracker.close()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            self.on_train_end(trainer, pl_module)

    return Callback()


def _started(model: nn.Module, optimizer: Any, step: int, saved: dict[str, Any] | None,
             options: Mapping[str, Any]) -> Tracker:
    """A tracker that continues from the saved state. Without one it overwrites no table of an earlier run."""
    path, moving = options.get("path"), "displacement" in (options.get("measure") or ())
    if step and saved is None and path is not None and Path(path).exists():
        raise BadInput(f"path is {str(path)!r}, a file that exists, at the resumed step {step}, without "
                       "the tracker's state in the checkpoint: expected a new name")
    if step and saved is None and moving:
        warnings.warn(f"resumed at step {step} without the weights of the start: no displacement from there",
                      stacklevel=3)
    tracker = Tracker(model, optimizer, start=step, **options)
    if step and saved is not None:
        tracker.load_state_dict(saved)
    return tracker


def _checkpoint(args: Any, state: Any) -> Path:
    """The folder of the checkpoint that transformers' Trainer makes at this step."""
    return Path(args.output_dir, f"checkpoint-{state.global_step}")


def _save(folder: Path, state: dict[str, Any]) -> None:
    if folder.is_dir():  # a hyperparameter search keeps its checkpoints elsewhere
        with replacing(folder / STATE) as partial:
            torch.save(state, partial)


def _load(folder: Path) -> dict[str, Any] | None:
    path = folder / STATE
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def _base(name: str, *libraries: str) -> Any:
    for library in libraries:
        try:
            return getattr(import_module(library), name)
        except ImportError:
            continue
    raise BadInput(f"{libraries[0]} is not installed: expected it for its callback (pip install it)")
