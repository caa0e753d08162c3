"""Stage `plot`: rows for `dvc plots`, figures and the report, from the tables and verdicts of `analyze`."""

import json
import shutil
from pathlib import Path

from study.analysis.params import LOCAL
from study.base import guard, params
from study.plotting import picture, report, templates
from study.plotting.grammar import Tables
from study.plotting.params import Settings
from variance_dynamics.base import rows
from variance_dynamics.base.errors import one_line

TABLES, DETAIL = Path("data/analysis"), Path("data/analysis/metrics/claims_detail.json")
OUT = Path("data/plots")


@one_line
@guard.unchanged(OUT, lambda: params.read(), [TABLES])
def main() -> None:
    tree = params.read()
    settings = Settings.of(tree)
    shutil.rmtree(OUT, ignore_errors=True)  # DVC does so too, but a run by hand would leave old figures
    tables = {path.stem: rows.read(path) for path in sorted(TABLES.glob("*.parquet"))}
    templates.write_rows(templates.of_source(tables, LOCAL), OUT / "rows", settings)
    for source in sources(tables):
        folder = OUT / "figures" / ("" if source == LOCAL else source)
        picture.draw_all(templates.of_source(tables, source), folder, settings)
    detail = json.loads(DETAIL.read_text(encoding="utf-8"))
    report.write(OUT / "report.html", tables, detail, tree, settings)


def sources(tables: Tables) -> list[str]:
    """This run and the recorded ones, in the order of the tables."""
    return list(dict.fromkeys(source for table in tables.values() for source in table["source"].unique()))


if __name__ == "__main__":
    main()
