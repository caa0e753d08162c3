"""The `plot` section, and what figures and charts read from params beside it."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from study.analysis.params import AnalyzeParams
from study.base.params import Section


class PlotParams(Section):
    """Resolution of the figures, and how many stds stand for the whole grid where every layer is drawn."""

    dpi: Annotated[int, Field(ge=50, le=600)]
    representative_std_count: Annotated[int, Field(ge=1, le=12)]


@dataclass(frozen=True)
class Settings:
    """What every figure and chart is given beside the tables."""

    plot: PlotParams
    analyze: AnalyzeParams
