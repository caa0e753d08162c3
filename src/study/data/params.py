"""The params sections `classification` and `corpus`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from study.base.params import NAME, Section, distinct, pinned

Text = Annotated[str, Field(min_length=1)]
Seed = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Commit = Annotated[str, AfterValidator(pinned)]

GPT2_VOCAB_SIZE = 50257
RAW = Path("data/raw")
"""Where people put their own data; the stages that prepare data depend on it."""


def named(entries: dict[str, str]) -> dict[str, str]:
    """A pydantic check: each key may be the name of a file and a key for DVC."""
    for name in entries:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r}: expected a name of letters, digits, _ and -")
    return entries


class MnistParams(Section):
    source: Literal["hub", "files"]
    path: Text
    hub_name: Text
    hub_revision: Commit


class ClassificationParams(Section):
    """`datasets` are names in data.classification.DATASETS or in `idx`; the fractions are of a whole dataset.

    MNIST and `idx` come with a test set, so only `val_fraction` applies to it.
    """

    datasets: Annotated[list[str], Field(min_length=1)]
    seed: Seed
    val_fraction: Fraction
    test_fraction: Fraction
    mnist: MnistParams
    idx: Annotated[dict[str, Text], AfterValidator(named)]

    _distinct = field_validator("datasets")(distinct)

    @model_validator(mode="after")
    def _leaves_training_data(self) -> "ClassificationParams":
        if self.val_fraction + self.test_fraction >= 1:
            shares = f"val_fraction {self.val_fraction}, test_fraction {self.test_fraction}"
            raise ValueError(f"{shares}: expected a sum below 1, which leaves data to train on")
        return self


class HubParams(Section):
    path: Text
    name: Text | None
    split: Text
    revision: Commit


class TokenizerParams(Section):
    """`vocab_size` includes <|endoftext|> and the 256 bytes. It is not used when `kind` is gpt2."""

    kind: Literal["train", "gpt2"]
    vocab_size: Annotated[int, Field(ge=257, le=1_000_000)]
    train_bytes: Annotated[int, Field(ge=1)]
    distinct_bytes: Annotated[int, Field(ge=100_000)]
    gpt2_path: Text

    @property
    def size(self) -> int:
        """The largest number of token ids that the chosen kind can have."""
        return self.vocab_size if self.kind == "train" else GPT2_VOCAB_SIZE


class CorpusParams(Section):
    source: Literal["docs", "files", "hub"]
    seed: Seed
    val_fraction: Fraction
    packages: Annotated[list[Text], Field(min_length=1)]
    files: Annotated[list[Text], Field(min_length=1)]
    text_column: Text
    null_rows: Literal["refuse", "skip"]
    document_separator: Text
    separator_place: Literal["anywhere", "line"]
    hub: HubParams
    tokenizer: TokenizerParams

    _distinct = field_validator("packages", "files")(distinct)

    @model_validator(mode="after")
    def _separator_can_match(self) -> "CorpusParams":
        if self.separator_place == "line" and set(self.document_separator) & set("\r\n"):
            given = f"document_separator {self.document_separator!r}, separator_place line"
            raise ValueError(f"{given}: expected a separator within one line, or separator_place anywhere")
        return self
