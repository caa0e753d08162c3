"""A parameter's name: without what wrappers insert, without its own last part, and its numbered parts."""

import re
from collections.abc import Iterator
from functools import lru_cache

from variance_dynamics.roles.patterns import ENDING, WRAPPERS, Table

LEGACY_ADAPTED = (".modules_to_save.default", ".original_module")
"""What PEFT inserts where it trains a copy of a module."""
SEQUENCE = re.compile(r"\.\d+(\.(0|proj|linear))?$")
RECURRENT = re.compile(r"(.*(?:^|[._]))weight_(ih|hh|hr)((?:_l\d+)?)(?:_reverse)?$")
MANY = re.compile(r"\.\d\d+(?=\.)")


def clean(name: str) -> str:
    """The name without the parts that wrappers (DDP, FSDP, torch.compile, PEFT) insert."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def path_of(cleaned: str) -> str:
    """The path that patterns are searched in: h.0.attn.c_attn.weight -> h.0.attn.c_attn."""
    for inserted in LEGACY_ADAPTED:
        cleaned = cleaned.replace(inserted, "")
    return ENDING.sub("", cleaned).removesuffix(".linear")


def kind(path: str) -> str:
    """The path with larger numbers as one, so that all layers and experts share what is known of a name."""
    return MANY.sub(".9", path)


def parent(path: str) -> str:
    """The module that holds this one."""
    return path.rpartition(".")[0]


@lru_cache(maxsize=2**16)
def has(text: str, pattern: re.Pattern[str]) -> bool:
    """Whether the pattern occurs in `text`."""
    return bool(pattern.search(text))


@lru_cache(maxsize=2**16)
def match(text: str, table: Table) -> str:
    """The role of the first pattern that occurs in `text`, or ""."""
    return next((role for role, pattern in table if pattern.search(text)), "")


def numbered(path: str) -> Iterator[str]:
    """The modules around `path` that are numbered, outermost first; an expert is none of them."""
    parts = path.split(".")
    for i, part in enumerate(parts):
        if part.isdigit() and not (i and parts[i - 1].endswith("experts")):
            yield ".".join(parts[: i + 1])


def sequence_of(path: str) -> str:
    """The nn.Sequential that holds this: the part before the last number."""
    return SEQUENCE.sub("", path)


def recurrent_layer(path: str) -> str:
    """The same text for all weights of a recurrent layer; other paths as they are."""
    return RECURRENT.sub(r"\1\3", path)
