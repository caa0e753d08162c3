"""Batches of contexts from memory-mapped tokens: batch s is a pure function of the seed and s."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.seeding import numpy_generator

Tokens = npt.NDArray[np.unsignedinteger]
Contexts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Corpus:
    """Tokens of both splits, mapped from disk; `fingerprint` is the sha256 of the manifest."""

    train: Tokens
    val: Tokens
    vocab_size: int
    fingerprint: str


def open_corpus(folder: Path, vocab_size: int, n_ctx: int) -> Corpus:
    """Map data/corpus into memory.

    Raises BadInput if there is no corpus, if its vocabulary is larger than the model's, or if a split is
    shorter than one context.
    """
    try:
        contents = (folder / "manifest.json").read_bytes()
        manifest = json.loads(contents)
        dtype = np.dtype(manifest["dtype"]).newbyteorder("<")
        splits = {name: np.memmap(folder / f"{name}.bin", dtype, mode="r") for name in ("train", "val")}
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError, ValueError) as problem:
        raise BadInput(f"{folder}: no corpus ({problem}): expected what stage corpus writes") from None
    if manifest["vocab_size"] > vocab_size:
        expected = f"at most the model's vocab_size, {vocab_size}"
        raise BadInput(f"{folder}: vocabulary is {manifest['vocab_size']}: expected {expected}")
    for name, tokens in splits.items():
        if len(tokens) <= n_ctx:
            expected = f"at least one context and one token, {n_ctx + 1}"
            raise BadInput(f"{folder}/{name}.bin: {len(tokens)} tokens: expected {expected}")
    fingerprint = hashlib.sha256(contents).hexdigest()
    return Corpus(splits["train"], splits["val"], manifest["vocab_size"], fingerprint)


class Batches:
    """Contexts of n_ctx tokens and the next token; every epoch cuts the text elsewhere and orders it anew."""

    def __init__(self, tokens: Tokens, n_ctx: int, batch_size: int, seed: int) -> None:
        self.tokens, self.n_ctx, self.batch_size, self.seed = tokens, n_ctx, batch_size, seed
        self.per_epoch = max(1, (len(tokens) - n_ctx) // n_ctx)
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def __call__(self, step: int, rows: range | None = None) -> Contexts:
        """int64 [batch_size, n_ctx + 1] for update `step` (from 0); only `rows` of it, if they are given."""
        first = step * self.batch_size
        numbers = [first + row for row in (range(self.batch_size) if rows is None else rows)]
        starts = [int(self._order(number // self.per_epoch)[number % self.per_epoch]) for number in numbers]
        return _contexts(self.tokens, starts, self.n_ctx)

    def _shuffled(self, epoch: int) -> npt.NDArray[np.int64]:
        """Where the contexts of an epoch start: a random shift of less than one context, in random order."""
        generator = numpy_generator(self.seed, "batches", epoch)
        left_over = len(self.tokens) - 1 - self.per_epoch * self.n_ctx
        shift = int(generator.integers(0, min(left_over, self.n_ctx - 1) + 1))
        return shift + self.n_ctx * generator.permutation(self.per_epoch)


def spread(tokens: Tokens, n_ctx: int, count: int) -> Contexts:
    """At most `count` contexts spread evenly over `tokens`, int64 [count, n_ctx + 1]; the same each time."""
    available = (len(tokens) - 1) // n_ctx
    count = min(count, available)
    starts = [available * i // count * n_ctx for i in range(count)]
    return _contexts(tokens, starts, n_ctx)


def _contexts(tokens: Tokens, starts: list[int], n_ctx: int) -> Contexts:
    return np.stack([tokens[start : start + n_ctx + 1] for start in starts]).astype(np.int64)
