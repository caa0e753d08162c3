"""Tensors that torch holds: a live module, a state dict, or what a training script saved around one."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from variance_dynamics.auditing.quantised import without_quantised
from variance_dynamics.auditing.saved_state import weights_in
from variance_dynamics.auditing.tensors import Checkpoint, Raw, StoredTensor
from variance_dynamics.base.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn


def from_memory(source: Any) -> Checkpoint:
    """The tensors of a live module, a state dict, or what a .pt file held. Raises BadInput for others."""
    from torch import nn

    if isinstance(source, nn.Module):
        return from_module(source)
    import torch

    weights = weights_in(source, lambda leaf: isinstance(leaf, torch.Tensor), "source")
    return replace(from_state(weights.tensors, "state dict", weights.config), notes=weights.notes)


def from_module(model: "nn.Module") -> Checkpoint:
    """The parameters of a live module, tied ones under every name; its Hugging Face config, if it has one."""
    from variance_dynamics.roles.of_model import config_of, owners

    state = dict(model.named_parameters(remove_duplicate=False))
    return from_state(state, type(model).__name__, config_of(model), owners(model))


def from_state(state: Mapping[str, "Tensor"], source: str, config: Mapping[str, Any] | None = None,
               types: Mapping[str, str] | None = None) -> Checkpoint:
    """A state dict's float tensors; those that lie in the same memory are tied to the first of them.

    Raises BadInput for a sharded tensor.
    """
    import torch

    dtypes = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
              torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2"}
    tensors, skipped, tied = {}, {}, {}
    owners: dict[Any, str] = {}
    for name, tensor in state.items():
        if hasattr(tensor, "to_local"):
            raise BadInput(f"{name}: tensor is sharded: expected a full state dict, or its file")
        if tensor.dtype not in dtypes or tensor.layout != torch.strided or tensor.is_meta:
            skipped[name] = str(tensor.dtype).removeprefix("torch.")
            continue
        place = (tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if tensor.numel() and owners.setdefault(place, name) != name:
            tied[name] = owners[place]
        tensors[name] = StoredTensor(name, tuple(tensor.shape), dtypes[tensor.dtype], partial(_raw, tensor))
    shapes = {name: tuple(state[name].shape) for name in skipped}
    return without_quantised(Checkpoint(source, tensors, config or {}, tied, skipped, types or {}, shapes))


def _raw(tensor: "Tensor") -> Raw:
    import torch

    bits = {torch.bfloat16: torch.uint16, torch.float8_e4m3fn: torch.uint8, torch.float8_e5m2: torch.uint8}
    raw: Raw = tensor.detach().cpu().view(bits.get(tensor.dtype, tensor.dtype)).numpy()
    return raw
