"""The weights in what a training script saved: which of all that lies in it is the model.

Serves what a file holds as well as what is in memory; a tensor is whatever `is_tensor` says is one.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from variance_dynamics.base.errors import BadInput

STATES = ("model", "state_dict", "model_state_dict", "model_state", "module", "params", "weights", "net",
          "network", "state", "ema", "model_ema", "ema_model", "state_dict_ema", "ema_state_dict")
"""Keys under which training scripts save the state dict; the first that there is, is the model."""
CONFIGS = ("model_args", "config", "model_config", "hyper_parameters", "args", "cfg")
"""Keys under which they save the model's config."""
COPY = re.compile(r"(^|[_.-])(ema|swa|teacher|averag\w*)([_.\d-]|$)", re.IGNORECASE)
"""Keys of what follows the weights, and is not read where they are there."""
OTHER = re.compile(r"^(.*[_-])?(optim(izer)?s?|opt|sched(uler)?s?|scaler|callbacks|loops)([_\d-].*)?$",
                   re.IGNORECASE)
"""Keys of mappings that hold no weights."""
DEEPEST = 32
"""Mappings inside one another; a module in a module counts."""
MOST_NAMES = 1_000_000

PLAIN = (str, bytes, int, float, type(None))

IsTensor = Callable[[Any], bool]
Has = Callable[[Any], bool]


class Module(dict[str, Any]):
    """A module's parameters, buffers and modules: the names in it are its own, and no training script's."""


@dataclass(frozen=True)
class Weights:
    """All tensors of a model by their names, dotted where mappings lie in mappings.

    `others` are the objects among them that are no tensor and no plain value; `config` lay beside them.
    """

    tensors: dict[str, Any]
    others: dict[str, Any]
    config: Mapping[str, Any]
    notes: tuple[str, ...]


def weights_in(saved: Any, is_tensor: IsTensor, source: str, key: str = "") -> Weights:
    """The weights under `key`, or else under the first of the usual keys, or under the only one.

    Where no key is a usual one, all that is not an optimizer's belongs to the model. Where there are others,
    a note says so. Raises BadInput where nothing holds a tensor, or there is no such key.
    """
    path: list[str] = []
    node, configs = saved, [saved]
    for part in _path_of(saved, key, source):
        path, node = [*path, part], children(node)[part]
        configs.append(node)
    has_any = _finder(is_tensor, 0, source)
    has = next((has for has in (_finder(is_tensor, 2, source), has_any) if has(node)), None)
    if has is None:
        raise BadInput(f"{source}: {_what(saved)}: expected a state dict, or one under {', '.join(STATES)}")
    beside: list[str] = []
    while step := _step(node, has):
        beside += [".".join([*path, name]) for name in _parts(node, has) if name != step]
        path, node = [*path, step], children(node)[step]
        configs.append(node)
    copies = _copies(node, has)
    beside += [".".join([*path, name]) for name in copies]
    tensors, others = _flat(node, is_tensor, has_any, copies, source)
    return Weights(tensors, others, _config(configs), tuple(_notes(path, beside)))


def _holds(thing: Any) -> bool:
    return isinstance(thing, Mapping | list | tuple)


def children(node: Any) -> Mapping[str, Any]:
    """What lies directly in a mapping or a list, by names; empty for everything else."""
    if isinstance(node, Mapping):
        return {str(name): value for name, value in node.items()}
    if isinstance(node, list | tuple):
        return {str(place): value for place, value in enumerate(node)}
    return {}


def _path_of(saved: Any, key: str, source: str) -> Iterator[str]:
    """The names one after another that `key`, which joins them with dots, is made of."""
    node = saved
    while key:
        names = [name for name in children(node) if name and (key == name or key.startswith(f"{name}."))]
        if not names:
            raise BadInput(f"{source}: {key:.99} is not in it: expected one of {_named(children(node))}")
        name = max(names, key=len)
        yield name
        node, key = children(node)[name], key[len(name) + 1 :]


def _finder(is_tensor: IsTensor, dimensions: int, source: str) -> Has:
    """Whether something holds a tensor of that many dimensions anywhere in it; each object is asked once."""
    known: dict[int, bool] = {}

    def has(node: Any, depth: int = 0) -> bool:
        if is_tensor(node):
            return len(node.shape) >= dimensions
        if not _holds(node) or "param_groups" in children(node):
            return False
        if depth > DEEPEST:
            raise BadInput(f"{source}: mappings lie in one another more than {DEEPEST} deep: "
                           "expected a state dict")
        if id(node) not in known:
            known[id(node)] = False  # for a mapping that holds itself
            known[id(node)] = any(has(child, depth + 1) for name, child in children(node).items()
                                  if not (OTHER.search(name) and _holds(child)))
        return known[id(node)]

    return has


def _parts(node: Any, has: Has) -> list[str]:
    """Names of what holds weights in `node`: mappings and tensors."""
    return [name for name, child in children(node).items()
            if has(child) and not (_holds(child) and OTHER.search(name))]


def _step(node: Any, has: Has) -> str:
    """The name of the mapping in `node` that is the model; empty where `node` is the model itself."""
    held, copies = children(node), _copies(node, has)
    parts = [name for name in _parts(node, has) if name not in copies]
    inside = [name for name in parts if _holds(held[name])]
    if isinstance(node, Module) or not inside:
        return ""
    return next((name for name in STATES if name in inside), inside[0] if len(parts) == 1 else "")


def _copies(node: Any, has: Has) -> list[str]:
    """Names of the mappings in `node` that are copies of the weights, where there are others."""
    held, parts = children(node), _parts(node, has)
    copies = [name for name in parts if COPY.search(name) and _holds(held[name])]
    return copies if len(copies) < len(parts) and not isinstance(node, Module) else []


def _flat(node: Any, is_tensor: IsTensor, has: Has, left: Sequence[str], source: str
          ) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and other objects in `node` by their dotted names, without what lies under the names `left`."""
    tensors: dict[str, Any] = {}
    others: dict[str, Any] = {}

    def add(inside: Any, prefix: str) -> None:
        for name, child in children(inside).items():
            full = f"{prefix}{name}"
            if _holds(child):
                if full not in left and not OTHER.search(name) and has(child):
                    add(child, f"{full}.")
            elif is_tensor(child):
                if full in tensors or len(tensors) == MOST_NAMES:
                    raise BadInput(f"{source}: tensor {full:.99} is one of {len(tensors):,}: "
                                   f"expected each name once, and at most {MOST_NAMES:,}")
                tensors[full] = child
            elif not isinstance(child, PLAIN):
                others[full] = child

    add(node, "")
    return tensors, others


def _notes(path: Sequence[str], beside: Sequence[str]) -> Iterator[str]:
    if beside:
        what = f"the weights under {'.'.join(path)} were read" if path else "not all weights were read"
        yield f"{what}, and not those under {_named(beside)} (which FILE:{beside[0]:.60} reads)"


def _named(names: Sequence[str] | Mapping[str, Any]) -> str:
    shown = [f"{name:.60}" for name in list(names)[:5]]
    return ", ".join([*shown, f"{len(names) - 5} more"] if len(names) > 5 else shown)


def _what(saved: Any) -> str:
    return f"keys {_named(saved)}" if isinstance(saved, Mapping) and saved else f"a {type(saved).__name__}"


def _config(places: Sequence[Any]) -> Mapping[str, Any]:
    inside = (children(place).get(key) for place in places for key in CONFIGS)
    found = next((value for value in inside if isinstance(value, Mapping)), {})
    known: dict[int, bool] = {}
    return {str(name): value for name, value in found.items() if _is_plain(value, known)}


def _is_plain(value: Any, known: dict[int, bool]) -> bool:
    """Whether a config may hold it: numbers within a float64, texts, and lists and mappings of these."""
    if isinstance(value, int | float):
        return abs(value) < 2**63 and math.isfinite(value)
    if isinstance(value, list | tuple | dict):
        if id(value) not in known:
            known[id(value)] = False  # for one that holds itself
            inside = value.values() if isinstance(value, dict) else value
            known[id(value)] = all(_is_plain(one, known) for one in inside)
        return known[id(value)]
    return value is None or isinstance(value, str)
