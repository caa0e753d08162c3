"""Params section `corpus`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from study.base.params import Section, distinct, pinned

Text = Annotated[str, Field(min_length=1)]

GPT2_VOCAB_SIZE = 50257


class HubParams(Section):
    path: Text
    name: Text | None
    split: Text
    revision: Annotated[str, AfterValidator(pinned)]


class TokenizerParams(Section):
    """`vocab_size` counts <|endoftext|> and the 256 bytes; GPT-2's own tokenizer has its own."""

    kind: Literal["train", "gpt2"]
    vocab_size: Annotated[int, Field(ge=257, le=1_000_000)]
    train_bytes: Annotated[int, Field(ge=1)]
    gpt2_path: Text

    @property
    def size(self) -> int:
        """The number of token ids that the chosen kind can give at most."""
        return self.vocab_size if self.kind == "train" else GPT2_VOCAB_SIZE


class CorpusParams(Section):
    source: Literal["docs", "files", "hub"]
    seed: Annotated[int, Field(ge=0)]
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    packages: Annotated[list[Text], Field(min_length=1)]
    files: Annotated[list[Text], Field(min_length=1)]
    text_column: Text
    document_separator: Text
    hub: HubParams
    tokenizer: TokenizerParams

    _distinct = field_validator("packages", "files")(distinct)
