"""The `plot` section, and what charts read from params beside it."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field

from study.analysis.params import AnalyzeParams
from study.base.params import Section, section


class PlotParams(Section):
    """Resolution of the figures, and how many stds stand for the whole grid where every layer is drawn."""

    dpi: Annotated[int, Field(ge=50, le=600)]
    representative_std_count: Annotated[int, Field(ge=1, le=12)]


@dataclass(frozen=True)
class Settings:
    """What every chart is given beside its table."""

    plot: PlotParams
    analyze: AnalyzeParams

    @classmethod
    def of(cls, tree: dict[str, Any]) -> Self:
        """From all of params.yaml; raises BadInput on a bad value."""
        return cls(section(tree, "plot", PlotParams), section(tree, "analyze", AnalyzeParams))
