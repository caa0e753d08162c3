"""Text to tokens: write the text to one file, split it by document, get the tokenizer, encode."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

from study.data import spool, tokenizer
from study.data.params import CorpusParams, TokenizerParams
from study.data.spool import Split
from study.data.texts import SOURCES
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.progress import progress

T = TypeVar("T")
SPLITS = ("train", "val")
BATCH = 64
"""How many pieces of text are encoded at once."""


def prepare(params: CorpusParams, n_ctx: int, scratch: Path, out: Path) -> dict[str, Any]:
    """Write train.bin, val.bin, tokenizer.json and manifest.json to the folder `out`; return the manifest.

    The text is kept in the folder `scratch`, so that memory stays bounded however large it is.
    Raises BadInput for text that is empty or not UTF-8, and for a split that is shorter than a context.
    """
    text = spool.write(SOURCES[params.source](params), scratch)
    splits = {name: Split(text, name, params.val_fraction, params.seed) for name in SPLITS}
    bpe = make_tokenizer(params, splits["train"])
    # Not `bpe.save`: its errors are no OSError and do not name the file.
    (out / "tokenizer.json").write_text(bpe.to_str(pretty=True), encoding="utf-8")
    size = bpe.get_vocab_size()
    manifest: dict[str, Any] = {
        "vocab_size": size,
        "dtype": dtype(size).str,
        "end_of_text": bpe.token_to_id(tokenizer.END_OF_TEXT),
        "sha256": text.sha256,
        **{name: encode(bpe, split, out / f"{name}.bin") for name, split in splits.items()},
    }
    for name in SPLITS:
        check_length(name, manifest[name]["tokens"], n_ctx)
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def dtype(vocab_size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The type of a token id: little-endian, 2 bytes where they suffice, otherwise 4."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def make_tokenizer(params: CorpusParams, train: Split) -> Tokenizer:
    """The tokenizer that params choose. If it is trained, then on the training split only."""
    if params.tokenizer.kind == "gpt2":
        return tokenizer.gpt2(Path(params.tokenizer.gpt2_path))
    every, (_, size) = sampled_every(train, params.tokenizer), train.size()
    if every > 1:
        print(f"tokenizer: trained on {size // every} of {size} bytes, one piece of {spool.PIECE} in {every}")
    with progress(desc="tokenizer", unit="B", unit_scale=True, total=size // every) as bar:
        return tokenizer.train(_batches(_counted(_sample(train, every), bar)), params.tokenizer.vocab_size)


def sampled_every(train: Split, params: TokenizerParams) -> int:
    """The tokenizer is trained on one piece in so many: on each, where all are within both limits of params.

    The trainer keeps every distinct word, at about 140 bytes of memory for each of its bytes. In a script
    without spaces nearly every stretch is a word of its own, so the limit on them follows the script.
    """
    _, size = train.size()
    every = max(-(-size // params.train_bytes), 1)
    while (read := _read_until(_sample(train, every), params.distinct_bytes)) is not None:
        every = max(-(-size // read), every + 1)
    return every


def _read_until(pieces: Iterator[str], limit: int) -> int | None:
    """The bytes of text up to which distinct words have more than `limit` bytes; None if they never have."""
    words: set[str] = set()
    read = distinct = 0
    for piece in pieces:
        new = tokenizer.words(piece) - words
        words |= new
        read += len(piece.encode())
        distinct += sum(len(word.encode()) for word in new)
        if distinct > limit:
            return read
    return None


def _sample(train: Split, every: int) -> Iterator[str]:
    return (text for text, _ in islice(train.pieces(), None, None, every))


def encode(bpe: Tokenizer, split: Split, path: Path) -> dict[str, Any]:
    """Write the split's token ids, with END_OF_TEXT after each document; return counts and the SHA-256.

    `bytes_per_token` does not count END_OF_TEXT.
    """
    documents, size = split.size()
    end, id_type = bpe.token_to_id(tokenizer.END_OF_TEXT), dtype(bpe.get_vocab_size())
    tokens, digest = 0, hashlib.sha256()
    with (
        path.open("wb") as file,
        progress(desc=f"encode {split.name}", unit="B", unit_scale=True, total=size) as bar,
    ):
        for batch in _batches(split.pieces()):
            encodings = bpe.encode_batch_fast(list(_counted((text for text, _ in batch), bar)))
            for encoding, (_, ends) in zip(encodings, batch, strict=True):
                ids = np.array(encoding.ids + [end] * ends, dtype=id_type)
                file.write(ids.data)
                digest.update(ids.data)
                tokens += len(ids)
    return {
        "documents": documents,
        "bytes": size,
        "tokens": tokens,
        "bytes_per_token": round(size / max(tokens - documents, 1), 4),
        "sha256": digest.hexdigest(),
    }


def check_length(split: str, tokens: int, n_ctx: int) -> None:
    """Refuse a split that is shorter than one context and the token after it."""
    if tokens <= n_ctx:
        least = f"{n_ctx + 1}, a context and one more"
        raise BadInput(f"corpus: its {split} split has {tokens} tokens: expected at least {least}")


def _counted(texts: Iterator[str], bar: "tqdm[Any]") -> Iterator[str]:
    for text in texts:
        yield text
        bar.update(len(text.encode()))


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH)):
        yield batch
