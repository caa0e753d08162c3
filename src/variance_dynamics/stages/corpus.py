"""Stage `corpus`: text split by document, tokenised and stored as memory-mapped integers."""

import shutil
from pathlib import Path

from variance_dynamics import params
from variance_dynamics.errors import one_line
from variance_dynamics.inputs.corpus import prepare
from variance_dynamics.inputs.corpus_params import CorpusParams

OUT = Path("data/corpus")
SCRATCH = Path(".cache/corpus")


@one_line
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
