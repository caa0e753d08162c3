"""Stage `corpus`: text split by document, tokenised and stored as memory-mapped integers."""

import shutil
from pathlib import Path

from study.base import params, runs
from study.data.corpus import prepare
from study.data.corpus_params import CorpusParams
from variance_dynamics.base.errors import one_line

OUT = Path("data/corpus")
SCRATCH = Path(".cache/corpus")


@one_line
@runs.noted("corpus", OUT)
def main() -> None:
    tree = params.read()
    section = params.section(tree, "corpus", CorpusParams)
    n_ctx = tree["gpt2_presets"][tree["gpt2"]["preset"]]["n_ctx"]  # typed and checked by the stage validate
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
