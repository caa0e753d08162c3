"""Byte-level BPE, trained on the corpus or GPT-2's own. Tokens decode to the text byte for byte."""

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from study.data.params import GPT2_VOCAB_SIZE
from variance_dynamics.base.errors import BadInput

END_OF_TEXT = "<|endoftext|>"
"""Separates documents. Its id is the last one. The same characters in a text get other ids."""
GPT2_FILES = ("encoder.json", "vocab.bpe")
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


def gpt2(folder: Path) -> Tokenizer:
    """GPT-2's own, from encoder.json and vocab.bpe. Raises BadInput if they are missing or not GPT-2's."""
    encoder, merges = gpt2_files(folder)
    try:
        tokenizer = _byte_level(models.BPE.from_file(str(encoder), str(merges)))
    except Exception as problem:  # tokenizers raises bare Exception
        raise BadInput(f"{WHERE} is {folder}: {problem}: expected GPT-2's own files") from None
    if tokenizer.get_vocab_size() != GPT2_VOCAB_SIZE:
        raise BadInput(f"{encoder}: {tokenizer.get_vocab_size()} tokens: expected GPT-2's {GPT2_VOCAB_SIZE}")
    return _with_end_of_text(tokenizer)


def gpt2_files(folder: Path) -> list[Path]:
    """The paths of encoder.json and vocab.bpe in that folder. Raises BadInput when one is missing."""
    for name in GPT2_FILES:
        if not (folder / name).is_file():
            raise BadInput(f"{WHERE} is {folder}: no {name} there: expected {' and '.join(GPT2_FILES)}")
    return [folder / name for name in GPT2_FILES]


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
