"""A pickle read as data: nothing is imported and nothing is called, whatever it says.

Plain values and containers are made. Whatever a class or a function would have made becomes an `Inert`, which
keeps what it would have been made of. Time and memory are bounded by the pickle's length. The opcodes are
those of https://docs.python.org/3/library/pickletools.html
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

PLAIN_KEYS = (str, bytes, int, float, bool, type(None))


@dataclass(eq=False)  # hashed by identity, as a key that is an object has to be
class Inert:
    """What a pickle names, such as "torch.FloatStorage", or what it would have made by calling that.

    `args` are the call's arguments, `state` is what the object would have been given after it, and `items`
    and `members` are what it would have held as a mapping or as a list.
    """

    path: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    members: list[Any] = field(default_factory=list)


def read_pickle(stream: bytes | BinaryIO, persistent: Callable[[Any], Any] = lambda it: it) -> Any:
    """The object of the pickle at which `stream` stands; a file is left behind its end.

    `persistent` makes an object of each persistent id, by which torch's pickles name their storages. A pickle
    that is damaged raises ValueError, IndexError, TypeError, AttributeError or KeyError.
    """
    machine = _Machine(persistent)
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "STOP":
            break
        if opcode.name in CONSTANTS:
            machine.stack.append(argument)
        elif opcode.name in EMPTY:
            machine.stack.append(EMPTY[opcode.name]())
        elif opcode.name not in PASSED_OVER:
            STEPS[opcode.name](machine, argument)
    return machine.stack.pop()


class _Machine:
    """The stack on which a pickle puts its object together, the marks in it, and the memo."""

    def __init__(self, persistent: Callable[[Any], Any]) -> None:
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        above = self.stack[start:]
        del self.stack[start:]
        return above

    def last(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise IndexError("the stack is empty")
        above = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return above



def _set_items(machine: _Machine, pairs: list[Any]) -> None:
    held = machine.stack[-1]
    items = held.items if isinstance(held, Inert) else held
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        # A tuple that is nested without end would overflow the stack of the hash.
        items[key if isinstance(key, (*PLAIN_KEYS, Inert)) else Inert("key", (key,))] = value


def _extend(machine: _Machine, values: list[Any]) -> None:
    held = machine.stack[-1]
    (held.members if isinstance(held, Inert) else held).extend(values)


def _build(machine: _Machine, _: Any) -> None:
    (state,) = machine.last(1)
    if isinstance(machine.stack[-1], Inert):
        machine.stack[-1].state = state


def _call(machine: _Machine, called: Any, args: Any) -> None:
    path = called.path if isinstance(called, Inert) else type(called).__name__
    args = args if isinstance(args, tuple) else (args,)
    if path.endswith(("copyreg._reconstructor", "copy_reg._reconstructor")) and args:
        path, args = getattr(args[0], "path", path), ()
    machine.stack.append(Inert(path, args))


def _memoize(machine: _Machine, place: int) -> None:
    machine.memo[place] = machine.stack[-1]


def _dict(machine: _Machine, _: Any) -> None:
    pairs = machine.since_mark()
    machine.stack.append({})
    _set_items(machine, pairs)


def _instance(machine: _Machine, _: Any) -> None:
    called, *args = machine.since_mark()
    _call(machine, called, tuple(args))


CONSTANTS = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING",
    "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"))
"""Opcodes that push their argument."""
EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": list,
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False}
"""Opcodes without an argument, and what they push. A set is a list here, as its members may have no hash."""
PASSED_OVER = frozenset(("PROTO", "FRAME"))
STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": lambda m, _: m.last(1) if m.stack and m.marks[-1:] != [len(m.stack)] else m.marks.pop(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "APPEND": lambda m, _: _extend(m, m.last(1)),
    "APPENDS": lambda m, _: _extend(m, m.since_mark()),
    "ADDITEMS": lambda m, _: _extend(m, m.since_mark()),
    "LIST": lambda m, _: m.stack.append(m.since_mark()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.since_mark())),
    "FROZENSET": lambda m, _: m.stack.append(tuple(m.since_mark())),
    "TUPLE1": lambda m, _: m.stack.append(tuple(m.last(1))),
    "TUPLE2": lambda m, _: m.stack.append(tuple(m.last(2))),
    "TUPLE3": lambda m, _: m.stack.append(tuple(m.last(3))),
    "DICT": _dict,
    "SETITEM": lambda m, _: _set_items(m, m.last(2)),
    "SETITEMS": lambda m, _: _set_items(m, m.since_mark()),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, place: m.stack.append(m.memo[place])),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _memoize),
    "MEMOIZE": lambda m, _: _memoize(m, len(m.memo)),
    "GLOBAL": lambda m, names: m.stack.append(Inert(names.replace(" ", "."))),
    "STACK_GLOBAL": lambda m, _: m.stack.append(Inert(".".join(m.last(2)))),
    "REDUCE": lambda m, _: _call(m, *m.last(2)),
    "NEWOBJ": lambda m, _: _call(m, *m.last(2)),
    "NEWOBJ_EX": lambda m, _: _call(m, *m.last(3)[:2]),
    "INST": lambda m, names: _call(m, Inert(names.replace(" ", ".")), tuple(m.since_mark())),
    "OBJ": _instance,
    "BUILD": _build,
    "PERSID": lambda m, name: m.stack.append(m.persistent(name)),
    "BINPERSID": lambda m, _: m.stack.append(m.persistent(m.last(1)[0]))}
"""The other opcodes. What is not among them (extensions, buffers beside the pickle) is an error."""
