"""Tensors that torch holds: a .pt file, opened without running what it contains, or a live module."""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variance_dynamics.auditing.tensors import Checkpoint, Raw, StoredTensor
from variance_dynamics.base.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

STATES = ("model", "state_dict", "model_state_dict", "module", "params", "weights")
"""Keys under which training scripts save the state dict; looked up in this order."""
CONFIGS = ("model_args", "config", "model_config", "hyper_parameters", "args")
"""Keys under which they save the model's config."""


def read_torch(path: Path) -> Checkpoint:
    """The tensors of a .pt file, which is mapped (a file from before torch 1.6 is loaded whole).

    Only tensors and plain containers are unpickled. Raises BadInput for anything else, without running it.
    """
    import torch

    try:
        mapped = zipfile.is_zipfile(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch warns of is either fine or an error below
            saved = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError:
        raise BadInput(f"{path}: holds Python objects, and loading them could run code: "
                       "expected tensors only, as torch.save(model.state_dict(), ...) writes them") from None
    except Exception as problem:  # a damaged file makes the unpickler raise almost anything
        first = (str(problem) or type(problem).__name__).splitlines()[0][:100]
        raise BadInput(f"{path}: torch cannot read it ({first}): expected a whole .pt of tensors") from None
    return from_state(_state(str(path), saved), str(path), _config(saved))


def from_memory(source: Any) -> Checkpoint:
    """The tensors of a live module, a state dict, or what a .pt file held. Raises BadInput for others."""
    from torch import nn

    if isinstance(source, nn.Module):
        return from_module(source)
    return from_state(_state("source", source), "state dict", _config(source))


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

    dtypes = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
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
    return Checkpoint(source, tensors, config or {}, tied, skipped, types or {})


def _raw(tensor: "Tensor") -> Raw:
    import torch

    tensor = tensor.detach().cpu()
    raw: Raw = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return raw


def _state(source: str, saved: Any) -> dict[str, "Tensor"]:
    """The state dict in what was saved: itself, or under one of the usual keys."""
    inside = [saved.get(key) for key in STATES] if isinstance(saved, Mapping) else []
    for candidate in (saved, *inside):
        tensors = _tensors(candidate)
        if tensors:
            return tensors
    keys = ", ".join(map(str, list(saved)[:5])) if isinstance(saved, Mapping) else ""
    kind = f"keys {keys}" if keys else f"a {type(saved).__name__}"
    raise BadInput(f"{source}: {kind}: expected a state dict, or one under {', '.join(STATES)}")


def _tensors(candidate: Any) -> dict[str, "Tensor"]:
    import torch

    if not isinstance(candidate, Mapping):
        return {}
    return {str(name): value for name, value in candidate.items() if isinstance(value, torch.Tensor)}


def _config(saved: Any) -> Mapping[str, Any]:
    inside = (saved.get(key) for key in CONFIGS) if isinstance(saved, Mapping) else ()
    return next((value for value in inside if isinstance(value, Mapping)), {})
