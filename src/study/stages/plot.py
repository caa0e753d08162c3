"""Stage `plot`: rows for `dvc plots`, figures and the report, from the tables and verdicts of `analyze`."""

import json
from pathlib import Path

import pandas as pd

from study.analysis.params import LOCAL, AnalyzeParams
from study.base import params
from study.plotting import figures, plot_rows, report
from study.plotting.params import PlotParams, Settings
from variance_dynamics.base import rows
from variance_dynamics.base.errors import one_line

TABLES, DETAIL, OUT = Path("data/analysis"), Path("metrics/claims_detail.json"), Path("plots")


@one_line
def main() -> None:
    tree = params.read()
    settings = Settings(params.section(tree, "plot", PlotParams),
                        params.section(tree, "analyze", AnalyzeParams))
    tables = {path.stem: rows.read(path) for path in sorted(TABLES.glob("*.parquet"))}
    for source in sources(tables):
        found = {name: table[table["source"] == source] for name, table in tables.items()}
        if source == LOCAL:
            plot_rows.write_all(found, OUT, settings)
        figures.draw_all(found, OUT / "figures" / ("" if source == LOCAL else source), settings)
    detail = json.loads(DETAIL.read_text(encoding="utf-8"))
    report.write(OUT / "report.html", tables, detail, tree, settings)


def sources(tables: dict[str, pd.DataFrame]) -> list[str]:
    """This run and the recorded ones, in the order of the tables."""
    return list(dict.fromkeys(source for table in tables.values() for source in table["source"].unique()))


if __name__ == "__main__":
    main()
