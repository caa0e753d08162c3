"""The roles of a live module's parameters, wrapped or not."""

import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from variance_dynamics.roles.find_roles import NetworkRoles, find_roles


def roles_of(model: nn.Module, patterns: Mapping[str, str] | None = None,
             config: Mapping[str, Any] | None = None) -> NetworkRoles:
    """As `find_roles` for a live model; a tied parameter occurs once, under its first name.

    `config` (for head counts) is by default that of the first Hugging Face module inside `model`. A warning
    names patterns that match nothing.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    roles = find_roles(shapes, config or config_of(model), patterns, owners(model))
    for pattern in roles.unmatched:
        warnings.warn(f"pattern {pattern!r} matches no parameter of {type(model).__name__}", stacklevel=2)
    return roles


def owners(model: nn.Module) -> dict[str, str]:
    """Parameter -> the class name of the module that holds it; a tied parameter under each of its names."""
    return {f"{prefix}.{name}".lstrip("."): type(module).__name__
            for prefix, module in model.named_modules(remove_duplicate=False)
            for name, _ in module.named_parameters(recurse=False, remove_duplicate=False)}


def config_of(model: nn.Module) -> dict[str, Any]:
    """The config of the first Hugging Face module inside `model`; empty where there is none."""
    for module in model.modules():
        to_dict = getattr(getattr(module, "config", None), "to_dict", None)
        if to_dict is not None:
            return dict(to_dict())
    return {}
