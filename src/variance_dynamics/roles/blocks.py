"""Which block each parameter of a network lies in, from what lies in each numbered module."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from variance_dynamics.roles.names import numbered

MIXES, FEEDS, READS, WRITES = "mixes", "feeds", "reads", "writes"
KINDS = {"q": (MIXES, READS), "k": (MIXES, READS), "v": (MIXES, READS), "q_down": (MIXES, READS),
         "kv_down": (MIXES, READS), "attn_out": (MIXES, WRITES), "mixer_in": (MIXES, READS),
         "mixer_out": (MIXES, WRITES), "mlp_in": (FEEDS, READS), "mlp_out": (FEEDS, WRITES)}
"""Role -> what it says of the module that holds it."""


@dataclass(frozen=True)
class Blocks:
    """Every block's module -> (its layer, from 1, and the number of blocks of its stack)."""

    places: Mapping[str, tuple[int, int]]

    @cached_property
    def depth(self) -> int:
        """Blocks of the longest stack; 1 where no module is numbered."""
        return max((depth for _, depth in self.places.values()), default=1)

    def place(self, path: str) -> tuple[int, int] | None:
        """(layer, depth) of a parameter, or None outside of every block."""
        return next((self.places[module] for module in numbered(path) if module in self.places), None)


def find_blocks(roles: Mapping[str, str]) -> Blocks:
    """The blocks of a network, given the role of each matrix by its path.

    A block is the smallest numbered module that holds both attention (or another mixer) and an MLP; where
    there is none, the smallest that reads and writes the residual stream, or else the outermost. Blocks whose
    modules differ only in their numbers are one stack.
    """
    holds: dict[str, set[str]] = defaultdict(set)
    members = {path: list(numbered(path)) for path, role in roles.items() if role in KINDS}
    for path, modules in members.items():
        for module in modules:
            holds[module].update(KINDS[roles[path]])
    blocks = {_smallest(modules, holds, {MIXES, FEEDS}) for modules in members.values()}
    stacks = {_stack(block) for block in blocks}
    for modules in members.values():
        if modules and not blocks.intersection(modules):
            beside = [module for module in modules if _stack(module) in stacks]
            blocks.add(beside[-1] if beside else _smallest(modules, holds, {READS, WRITES}) or modules[0])
    return Blocks(_places(blocks - {""}, holds))


def _smallest(modules: list[str], holds: Mapping[str, set[str]], kinds: set[str]) -> str:
    return next((module for module in reversed(modules) if holds[module] >= kinds), "")


def _stack(module: str) -> str:
    return ".".join("*" if part.isdigit() else part for part in module.split("."))


def _places(blocks: set[str], holds: Mapping[str, set[str]]) -> dict[str, tuple[int, int]]:
    stacks: dict[str, list[str]] = defaultdict(list)
    for block in sorted(blocks, key=lambda block: [int(part) for part in block.split(".") if part.isdigit()]):
        stacks[_stack(block)].append(block)
    places = {}
    for ordered in stacks.values():
        halves = 2 if _half_blocks(ordered, holds) else 1
        for i, block in enumerate(ordered):
            places[block] = (i // halves + 1, len(ordered) // halves)
    return places


def _half_blocks(ordered: list[str], holds: Mapping[str, set[str]]) -> bool:
    """Whether modules are half a block each, as x-transformers numbers them: attention, MLP, and so on."""
    kinds = [holds[block] & {MIXES, FEEDS} for block in ordered]
    nested = all(block.split(".")[-2].isdigit() for block in ordered if "." in block)
    return nested and len(kinds) % 2 == 0 and kinds == [{MIXES}, {FEEDS}] * (len(kinds) // 2)
