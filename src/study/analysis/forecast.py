"""The final std forecast from the first steps: each matrix's update size so far, carried forward."""

import numpy as np
import pandas as pd

from study.analysis.expansion import RUN, at_horizon

MATRIX = [*RUN, "layer", "role"]
WAYS = ("forecast", "law", "no_change")


def forecasts(matrices: pd.DataFrame, fraction: float) -> pd.DataFrame:
    """Final std of each matrix by three ways, a row per run, layer and role.

    no_change: the initial std. law: the null law, R = 1. forecast: the null law with the `size` that the
    matrix had shown in the first `fraction` of the steps, which is D as far as it goes: the displacement
    since initialisation, so R without what lies along the initial weights. error_*: |ln(way / std)|. at: the
    step at which the forecast is made.
    """
    end, start = (at_horizon(matrices, share).set_index(MATRIX) for share in (1.0, fraction))
    first = matrices[matrices["step"] == 0].set_index(MATRIX)["std"]
    found = pd.DataFrame({"std": end["std"], "no_change": first, "law": end["predicted"], "at": start["step"],
                          "size": start["size_white"]})
    # predicted^2 = kept + S, and at size 1 the law puts S in, so another adds (size - 1) S
    variance = end["predicted"] ** 2 + (found["size"] - 1) * end["noise"]
    found["forecast"] = np.sqrt(variance.clip(lower=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = {f"error_{way}": np.abs(np.log(found[way] / found["std"])) for way in WAYS}
    return found.assign(**errors).reset_index()


def errors(found: pd.DataFrame, roles: tuple[str, ...]) -> pd.DataFrame:
    """Mean |ln error| of each way over the matrices of `roles`, a row per run, and the differences."""
    names = [f"error_{way}" for way in WAYS]
    per_run = found[found["role"].isin(roles)].groupby(RUN)[names].mean().reset_index()
    return per_run.assign(law_minus_no_change=per_run["error_law"] - per_run["error_no_change"],
                          forecast_minus_law=per_run["error_forecast"] - per_run["error_law"])
