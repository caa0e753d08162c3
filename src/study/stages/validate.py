"""Stage `validate`: check every value in params.yaml, alone and against the others, before anything runs.

It imports neither pandas nor, unless a GPU is asked for, torch: a bad value is refused within a second.
"""

from pathlib import Path

from study.analysis.params import AnalyzeParams
from study.base import params
from study.data import left_out
from study.data.params import ClassificationParams, CorpusParams
from study.mlp.params import InitComparisonParams, MlpSweepParams
from study.plotting.params import PlotParams
from study.stages import checks
from variance_dynamics.base.errors import one_line

OUT = Path("data/validated.json")


@one_line
def main() -> None:
    whole = params.load()
    checks.names(whole)
    checks.sections(whole)
    tree = params.overlaid(whole)
    classification = params.section(tree, "classification", ClassificationParams)
    corpus = params.section(tree, "corpus", CorpusParams)
    mlp_sweep = params.section(tree, "mlp_sweep", MlpSweepParams)
    init_comparison = params.section(tree, "init_comparison", InitComparisonParams)
    analyze = params.section(tree, "analyze", AnalyzeParams)
    params.section(tree, "plot", PlotParams)
    checks.tasks(classification, mlp_sweep, init_comparison)
    checks.gpt2(tree, corpus.tokenizer.size)
    checks.analysis(tree, analyze)
    for study in whole["studies"]:
        checks.other_study(whole, study)
    checks.changes(whole)
    with left_out.named():
        checks.data(classification, corpus)
    checks.gpus(tree)
    # The file is always the same, so that a change of params does not run the stages that come after it.
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text('{"valid": true}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
