"""Text to tokens: spool the text, split it by document, train or load the tokenizer, encode in batches."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

from variance_dynamics.errors import BadInput
from variance_dynamics.inputs import spool, tokenizer
from variance_dynamics.inputs.corpus_params import CorpusParams
from variance_dynamics.inputs.spool import Split
from variance_dynamics.inputs.texts import SOURCES
from variance_dynamics.inputs.tokens import MANIFEST, SPLITS, dtype
from variance_dynamics.progress import progress

T = TypeVar("T")
BATCH = 64
"""Pieces that are encoded at once."""


def prepare(params: CorpusParams, n_ctx: int, scratch: Path, out: Path) -> dict[str, Any]:
    """Write tokens, tokenizer and manifest to the folder `out`, and return the manifest.

    The text lies in the folder `scratch` meanwhile; memory stays bounded whatever its size.
    Raises BadInput for text that is empty, not UTF-8 or, in either split, shorter than a context.
    """
    text = spool.write(SOURCES[params.source](params), scratch)
    splits = {name: Split(text, name, params.val_fraction, params.seed) for name in SPLITS}
    bpe = make_tokenizer(params, splits["train"])
    bpe.save(str(out / "tokenizer.json"))
    size = bpe.get_vocab_size()
    manifest = {
        "vocab_size": size,
        "dtype": dtype(size).str,
        "end_of_text": bpe.token_to_id(tokenizer.END_OF_TEXT),
        "sha256": text.sha256,
    }
    for name, split in splits.items():
        manifest[name] = encode(bpe, split, out / f"{name}.bin")
        check_length(name, manifest[name]["tokens"], n_ctx)
    (out / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def make_tokenizer(params: CorpusParams, train: Split) -> Tokenizer:
    """The tokenizer that params choose; one that is trained sees the training split only."""
    if params.tokenizer.kind == "gpt2":
        return tokenizer.gpt2(Path(params.tokenizer.gpt2_path))
    # The trainer keeps every distinct word, so a large corpus is sampled: one piece in `every`, evenly.
    every = -(-train.size()[1] // params.tokenizer.train_bytes)
    pieces = (text for number, (text, _) in enumerate(train.pieces()) if number % every == 0)
    with progress(desc="tokenizer", unit="B", unit_scale=True, total=train.size()[1] // every) as bar:
        return tokenizer.train(_batches(_counted(pieces, bar)), params.tokenizer.vocab_size)


def encode(bpe: Tokenizer, split: Split, path: Path) -> dict[str, float]:
    """Write the split's token ids, each document followed by END_OF_TEXT; returns its counts.

    `bytes_per_token` leaves the separators out.
    """
    documents, size = split.size()
    kind, end = dtype(bpe.get_vocab_size()), bpe.token_to_id(tokenizer.END_OF_TEXT)
    with path.open("wb") as file, progress(desc=f"encode {split.name}", unit="B", unit_scale=True, total=size) as bar:
        for batch in _batches(split.pieces()):
            for encoding, (text, ends) in zip(bpe.encode_batch_fast([text for text, _ in batch]), batch, strict=True):
                np.array(encoding.ids + [end] * ends, dtype=kind).tofile(file)
                bar.update(len(text.encode()))
        tokens = file.tell() // kind.itemsize
    return {
        "documents": documents,
        "bytes": size,
        "tokens": tokens,
        "bytes_per_token": round(size / max(tokens - documents, 1), 4),
    }


def check_length(split: str, tokens: int, n_ctx: int) -> None:
    """Refuse a split that does not hold one context and the token after it."""
    if tokens <= n_ctx:
        raise BadInput(f"corpus: its {split} split has {tokens} tokens: expected at least {n_ctx + 1}, a context and one more")


def _counted(texts: Iterator[str], bar: "tqdm[Any]") -> Iterator[str]:
    for text in texts:
        yield text
        bar.update(len(text.encode()))


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH)):
        yield batch
