"""Named random streams from one seed: a change in one stream never shifts another."""

import hashlib

import numpy as np


def entropy(seed: int, *name: str | int) -> list[int]:
    """Four 64-bit words that depend on the seed and on every part of the name; the same on any platform."""
    digest = hashlib.sha256("/".join(str(part) for part in (seed, *name)).encode()).digest()
    return [int.from_bytes(digest[i : i + 8], "little") for i in range(0, 32, 8)]


def numpy_generator(seed: int, *name: str | int) -> np.random.Generator:
    """The named stream as a numpy generator, e.g. `numpy_generator(0, "batches", "digits")`."""
    return np.random.Generator(np.random.PCG64(entropy(seed, *name)))


def torch_seed(seed: int, *name: str | int) -> int:
    """A 63-bit seed of the named stream for `torch.Generator.manual_seed`."""
    return entropy(seed, *name)[0] >> 1
