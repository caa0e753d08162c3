"""Stage `corpus`: split text by document, tokenise it, and store the ids, ready to be memory-mapped."""

from pathlib import Path
from typing import Any

from study.base import guard, params, runs
from study.data.corpus import prepare
from study.data.params import RAW, CorpusParams
from variance_dynamics.base.atomic import replacing, scratch
from variance_dynamics.base.errors import one_line

OUT = Path("data/corpus")


def knobs() -> dict[str, Any]:
    """The values in params.yaml that decide the result."""
    tree = params.read()
    return {"corpus": tree["corpus"], "gpt2_presets": {"n_ctx": n_ctx(tree)}}


def n_ctx(tree: dict[str, Any]) -> int:
    """The context of the chosen preset; the stage validate has checked that it is there."""
    context: int = tree["gpt2_presets"][tree["gpt2"]["preset"]]["n_ctx"]
    return context


@one_line
@runs.noted("corpus", OUT, knobs)
@guard.unchanged(OUT, knobs, [RAW])
def main() -> None:
    tree = params.read()
    section = params.section(tree, "corpus", CorpusParams)
    with replacing(OUT) as done, scratch(OUT) as text:
        done.mkdir()
        manifest = prepare(section, n_ctx(tree), text, done)
    for name in ("train", "val"):
        print(f"{name}: {manifest[name]}")
    share = manifest["val"]["bytes"] / (manifest["train"]["bytes"] + manifest["val"]["bytes"])
    print(f"val has {share:.2%} of the text: corpus.val_fraction is {section.val_fraction:.2%}")


if __name__ == "__main__":
    main()
