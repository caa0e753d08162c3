"""Byte-level BPE, trained on the corpus or GPT-2's own. Tokens decode to the text byte for byte."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from study.data.files import check
from study.data.hub import first_line
from study.data.params import GPT2_VOCAB_SIZE
from variance_dynamics.base.errors import BadInput

END_OF_TEXT = "<|endoftext|>"
"""Separates documents. Its id is the last one. The same characters in a text get other ids."""
FORMS = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"), ("tokenizer.json",))
"""The names under which GPT-2's files are published: its own, and those of Hugging Face."""
Model = tuple[dict[str, int], list[tuple[str, str]]]
"""A vocabulary (token -> id), and the merges in order."""
WORD = re.compile(r" ?[^\W\d_]+| ?\d+|\s+| ?(?:[^\s\w]|_)+")
WHERE = "corpus.tokenizer.gpt2_path"


def train(batches: Iterator[list[str]], vocab_size: int) -> Tokenizer:
    """A byte-level BPE of at most `vocab_size` ids, with END_OF_TEXT. The same texts give the same one."""
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer = _byte_level(models.BPE())
    tokenizer.train_from_iterator(batches, trainer)
    return _with_end_of_text(tokenizer)


def words(text: str) -> set[str]:
    """About the words that the trainer counts in a text: letters, digits, or others, with a space before."""
    return set(WORD.findall(text))


def gpt2(folder: Path) -> Tokenizer:
    """GPT-2's own, from one of the FORMS or several that agree. Raises BadInput if they are not GPT-2's."""
    (first, chosen), *others = ((paths, _model(paths)) for paths in gpt2_files(folder))
    for paths, other in others:
        if other != chosen:
            names = f"{first[0].name} and {paths[0].name}"
            raise BadInput(f"{WHERE} is {folder}: {names} differ: expected one tokenizer")
    try:
        return _with_end_of_text(_byte_level(models.BPE(*chosen)))
    except Exception as problem:  # tokenizers raises bare Exception
        raise BadInput(f"{WHERE} is {folder}: {first_line(problem)}: expected GPT-2's own files") from None


def gpt2_files(folder: Path) -> list[tuple[Path, ...]]:
    """The paths of each form of GPT-2's files in that folder. Raises BadInput where none is complete."""
    forms = [tuple(folder / name for name in form) for form in FORMS]
    found = [form for form in forms if all(path.is_file() for path in form)]
    if not found:
        there = [path.name for form in forms for path in form if path.is_file()]
        expected = ", ".join(" and ".join(form) for form in FORMS)
        alone = f"{', '.join(there)} alone is there" if there else "none of its files is there"
        raise BadInput(f"{WHERE} is {folder}: {alone}: expected {expected}")
    return [tuple(map(check, form)) for form in found]


def _model(paths: tuple[Path, ...]) -> Model:
    """What is in one form of files. Raises BadInput where that is not GPT-2's."""
    try:
        vocab, merges = _parsed(*(path.read_text(encoding="utf-8") for path in paths))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
        names = " and ".join(path.name for path in paths)
        expected = f"{first_line(problem)}: expected GPT-2's own files"
        raise BadInput(f"{paths[0].parent}: {names}: {expected}") from None
    if len(vocab) != GPT2_VOCAB_SIZE:
        raise BadInput(f"{paths[0]}: {len(vocab)} tokens: expected GPT-2's {GPT2_VOCAB_SIZE}")
    return vocab, merges


def _parsed(vocab_or_all: str, merges_text: str | None = None) -> Model:
    tree = json.loads(vocab_or_all)
    if merges_text is None:
        vocab, merges = tree["model"]["vocab"], tree["model"]["merges"]
    else:
        lines = merges_text.removeprefix("\ufeff").split("\n")
        vocab, merges = tree, [line for line in lines if line.strip() and not line.startswith("#version")]
    if sorted(vocab.values()) != list(range(len(vocab))):
        raise ValueError("its ids are not 0, 1, 2 and so on")
    split = (merge.split() if isinstance(merge, str) else merge for merge in merges)
    pairs = [(left, right) for left, right in split]
    if not all({*pair} <= vocab.keys() for pair in pairs):
        raise ValueError("a merge is not of two of its tokens")
    return vocab, pairs


def load(path: Path) -> Tokenizer:
    """The tokenizer in a tokenizer.json that the stage `corpus` has written."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def _byte_level(model: models.Model) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _with_end_of_text(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.add_special_tokens([END_OF_TEXT])
    tokenizer.encode_special_tokens = True  # the separator's characters in a document are text
    return tokenizer
