"""Low rank and two values are seen in any type, and never in random matrices."""

import numpy as np
import pytest
import torch

from variance_dynamics.auditing.structure import structure
from variance_dynamics.auditing.tensors import measure

TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def seen(weight, dtype="F32"):
    stored = weight.to(TYPES[dtype])
    raw = stored.view(torch.uint16).numpy() if dtype == "BF16" else stored.numpy()
    return structure(raw, dtype, measure(raw, dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rank", [1, 4])
@pytest.mark.parametrize("shape", [(8, 8), (64, 300), (300, 9), (16, 4, 3)])
def test_low_rank_is_seen_in_every_type(dtype, rank, shape):
    torch.manual_seed(0)
    flat = torch.randn(shape[0], rank) @ torch.randn(rank, int(np.prod(shape[1:])))
    assert seen((0.02 * flat).reshape(shape), dtype).startswith(f"rank {rank} of its first")


@pytest.mark.parametrize("dtype", TYPES)
def test_two_values_are_seen_in_every_type(dtype):
    torch.manual_seed(0)
    assert seen(0.02 * torch.randn(6, 6).sign(), dtype).startswith("only +0.02")


@pytest.mark.parametrize("dtype", TYPES)
def test_nothing_is_seen_in_random_matrices(dtype):
    torch.manual_seed(0)
    draws = (torch.randn, torch.rand, lambda *shape: torch.nn.init.orthogonal_(torch.empty(shape)))
    shapes = [(8, 8)] * 200 + [(64, 64), (9, 200), (200, 9), (64, 65)] * 10 + [(2, 3), (1, 50)]
    assert not [shape for draw in draws for shape in shapes if seen(draw(*shape), dtype)]


def test_rows_of_zeros_are_no_low_rank():
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    weight[:50] = 0
    assert not seen(weight)
