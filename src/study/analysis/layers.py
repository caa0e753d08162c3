"""Signal and gradient of each layer of an MLP: measured over seeds, and as theory predicts them."""

from itertools import pairwise

import numpy as np
import pandas as pd

from study.analysis.bands import sizes
from study.analysis.finite_width import log_second_moment
from study.analysis.over_seeds import over_seeds
from study.analysis.params import AnalyzeParams
from variance_dynamics.theory.propagation import forward_second_moment, gradient_norm
from variance_dynamics.weights.parameter import Parameter
from variance_dynamics.weights.schemes import SCHEMES

INIT = ["dataset", "depth", "width", "scheme", "std"]
"""What settles a network's weights at init, but for the seed."""
TASK = ["features", "classes", "input_second_moment"]


def per_layer(outcomes: pd.DataFrame, layers: pd.DataFrame, keys: list[str], params: AnalyzeParams
              ) -> pd.DataFrame:
    """Geometric means over seeds: second_moment and grad_norm at init, grad_norm_end at the last evaluation.

    A row per `keys`, layer and stat. Zero has no logarithm: a cell where a seed has zero, or diverged, has
    no value.
    """
    last = layers.loc[layers["stat"] == "grad_norm", "step"].max()
    end = layers[(layers["stat"] == "grad_norm") & (layers["step"] == last)].assign(stat="grad_norm_end")
    rows = pd.concat([layers[layers["step"] == 0], end]).merge(outcomes[["run", *keys, "seed"]], on="run")
    value = np.log(rows["value"].where(np.isfinite(rows["value"]) & (rows["value"] > 0)))
    table = over_seeds(rows.assign(value=value), [*keys, "layer", "stat"], ["value"], params)
    table = table.rename(columns={"value_lo": "lo", "value_hi": "hi"})
    table = table.assign(**{name: np.exp(table[name]) for name in ("value", "lo", "hi")})
    theory = predicted(outcomes)
    shared = [name for name in theory.columns if name in table.columns]
    return table.merge(theory[[*shared, "predicted", "predicted_typical"]], on=shared, how="left")


def predicted(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Theory's second moment, and gradient norm of one sample, of each layer at init, per INIT and layer.

    predicted: (root) mean (square) over initialisations. predicted_typical: geometric mean of one sample's
    second moment, lower by what finite width costs (1812.05994); samples that differ average some of it.
    """
    rows = []
    networks = outcomes[[*INIT, *TASK]].drop_duplicates()
    for *init, features, classes, moment in networks.itertuples(index=False):
        _, depth, width, scheme, sigma = init
        shape = sizes(features, classes, depth, width)
        stds = layer_stds(shape, scheme, sigma)
        signal = forward_second_moment(shape, stds, moment)
        gradient = gradient_norm(shape, stds, moment, error=(1 - 1 / classes) ** 0.5)
        typical = signal * np.exp([log.mean for log in log_second_moment(shape)])
        for layer in range(depth):
            rows += [(*init, layer + 1, "second_moment", signal[layer], typical[layer]),
                     (*init, layer + 1, "grad_norm", gradient[layer], np.nan)]
    return pd.DataFrame(rows, columns=[*INIT, "layer", "stat", "predicted", "predicted_typical"])


def layer_stds(shape: list[int], scheme: str, sigma: float) -> list[float]:
    """The std that a scheme gives each weight layer of an MLP; `sigma` is the run's, for schemes that ask."""
    depth = len(shape) - 1
    matrices = [Parameter("", "readout" if layer == depth else "hidden", layer, depth, *fans)
                for layer, fans in enumerate(pairwise(shape), 1)]
    return [SCHEMES[scheme].std(matrix, sigma) for matrix in matrices]
