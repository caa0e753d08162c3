"""Stage `corpus`: split text by document, tokenise it, and store the ids, ready to be memory-mapped."""

import shutil
from pathlib import Path

from study.base import params, runs
from study.data.corpus import prepare
from study.data.params import CorpusParams
from variance_dynamics.base.errors import one_line

OUT = Path("data/corpus")
SCRATCH = Path(".cache/corpus")


@one_line
@runs.noted("corpus", OUT)
def main() -> None:
    tree = params.read()
    section = params.section(tree, "corpus", CorpusParams)
    n_ctx = tree["gpt2_presets"][tree["gpt2"]["preset"]]["n_ctx"]  # the stage validate has checked it
    shutil.rmtree(SCRATCH, ignore_errors=True)
    text, done = SCRATCH / "text", SCRATCH / "done"
    text.mkdir(parents=True)
    done.mkdir()
    try:
        manifest = prepare(section, n_ctx, text, done)
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.parent.mkdir(exist_ok=True)
        done.replace(OUT)
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)
    for name in ("train", "val"):
        print(f"{name}: {manifest[name]}")


if __name__ == "__main__":
    main()
