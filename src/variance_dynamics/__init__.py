"""The std of weights: what an init scheme gives, what training does to it, and what a model holds.

    audit(model_or_checkpoint)   does each parameter hold what its recipe says?
    assert_initialized(model)    the same in a test suite
    compare(model, other)        were two models drawn by the same laws?
    forecast(std, lr, steps)     what AdamW will do to the std
    initialize(model, recipe)    set every parameter by a recipe
    series(checkpoints)          the std of every matrix in the checkpoints of a run, and their faults
    Tracker(model, optimizer)    the std of every matrix while it trains

Each is imported when it is first used, so that importing the package costs nothing.

Rooms, from the ground up: base; weights; roles and theory; recipes; tracking, auditing and forecasting;
checkpoint_series. A room imports from rooms below it; each says which. The modules beside them
(initializing, adapters, cli) may import every room.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from variance_dynamics.auditing.against import compare as compare
    from variance_dynamics.auditing.audit import assert_initialized as assert_initialized
    from variance_dynamics.auditing.audit import audit as audit
    from variance_dynamics.checkpoint_series.series import series as series
    from variance_dynamics.forecasting.forecast import forecast as forecast
    from variance_dynamics.initializing import initialize as initialize
    from variance_dynamics.tracking.tracker import Tracker as Tracker

HOMES = {
    "assert_initialized": "variance_dynamics.auditing.audit",
    "audit": "variance_dynamics.auditing.audit",
    "compare": "variance_dynamics.auditing.against",
    "forecast": "variance_dynamics.forecasting.forecast",
    "initialize": "variance_dynamics.initializing",
    "series": "variance_dynamics.checkpoint_series.series",
    "Tracker": "variance_dynamics.tracking.tracker",
}
"""Public name -> its module. A module with a public name would hide what has that name, once imported."""
__all__ = ["Tracker", "assert_initialized", "audit", "compare", "forecast", "initialize", "series"]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
