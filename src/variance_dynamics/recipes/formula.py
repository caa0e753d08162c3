"""Formulas of a recipe, such as `.02 / sqrt(2 * depth)`: parsed here, and never run as Python.

A formula holds numbers, names, + - * / **, parentheses, sqrt, min and max. A power binds tighter than a sign
before it and groups from the right, as in Python.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from variance_dynamics.base.errors import BadInput

Values = Mapping[str, float]
Evaluate = Callable[[Values], float]
LONGEST = 300
"""Characters of a formula."""
DEEPEST = 30
"""Parentheses, signs and powers inside each other."""
EXPECTED = "expected numbers, names, + - * / **, parentheses, sqrt, min and max"
TOKEN = re.compile(r"\s*(?:(?P<number>(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
                   r"|(?P<sign>\*\*|[-+*/(),])|(?P<wrong>\S))", re.ASCII)
FUNCTIONS: dict[str, tuple[Callable[..., float], range]] = {
    "sqrt": (math.sqrt, range(1, 2)), "min": (min, range(2, 9)), "max": (max, range(2, 9))}
"""Name -> the function, and how many arguments it may have."""


@dataclass(frozen=True)
class Formula:
    """A parsed formula; `names` are those of the values that it needs."""

    text: str
    names: frozenset[str]
    evaluate: Evaluate

    def value(self, values: Values) -> float:
        """Its value, a finite number.

        Raises BadInput for a name without a value, and for what is no number.
        """
        unknown = sorted(self.names - values.keys())
        if unknown:
            raise BadInput(f"formula {self.text!r}: {unknown[0]} is not known here: "
                           f"expected one of {', '.join(sorted(values))}")
        try:
            value = self.evaluate(values)
        except (ArithmeticError, ValueError):
            value = math.nan
        if isinstance(value, complex) or not math.isfinite(value):
            given = ", ".join(f"{name} = {values[name]:g}" for name in sorted(self.names))
            raise BadInput(f"formula {self.text!r}: no finite number{f' at {given}' if given else ''}: "
                           "expected one")
        return float(value)


def parse(text: str) -> Formula:
    """The formula that `text` holds. Raises BadInput, which names the place, for anything else.

    >>> parse(".02 / sqrt(2 * depth)").value({"depth": 8.0})
    0.005
    """
    reader = Reader(text)
    evaluate = reader.sum(0)
    reader.end()
    return Formula(text.strip(), frozenset(reader.names), evaluate)


class Reader:
    """Reads a text from the left, one token at a time; each method returns how to compute what it read."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise BadInput(f"formula of {len(text):,} characters: expected at most {LONGEST}")
        self.text, self.at = text, 0
        self.tokens = [(str(match.lastgroup), match[str(match.lastgroup)]) for match in TOKEN.finditer(text)]
        self.names: set[str] = set()

    @property
    def next(self) -> str:
        """The token to read next; empty at the end."""
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        """Read one token."""
        token, self.at = self.next, self.at + 1
        return token

    def take_sign(self, sign: str) -> None:
        """Read this sign. Raises BadInput for another."""
        if self.next != sign:
            raise self.wrong(f"expected {sign!r}")
        self.take()

    def end(self) -> None:
        """Raises BadInput where something follows."""
        if self.next:
            raise self.wrong(EXPECTED)

    def wrong(self, expected: str) -> BadInput:
        """The error at this place."""
        return BadInput(f"formula {self.text!r}: {self.next or 'its end'!r} at this place: {expected}")

    def sum(self, depth: int) -> Evaluate:
        """A product, or several with + and - between them."""
        return self._left_to_right(("+", "-"), self._product, depth)

    def _product(self, depth: int) -> Evaluate:
        return self._left_to_right(("*", "/"), self._signed, depth)

    def _left_to_right(self, signs: tuple[str, str], part: Callable[[int], Evaluate], depth: int) -> Evaluate:
        value = part(depth)
        while self.next in signs:
            apply = {"+": operator.add, "-": operator.sub, "*": operator.mul,
                     "/": operator.truediv}[self.take()]
            value = _both(apply, value, part(depth))
        return value

    def _signed(self, depth: int) -> Evaluate:
        if depth > DEEPEST:
            raise self.wrong(f"expected at most {DEEPEST} inside each other")
        if self.next in ("+", "-"):
            minus, value = self.take() == "-", self._signed(depth + 1)
            return (lambda values: -value(values)) if minus else value
        base = self._atom(depth)
        if self.next != "**":
            return base
        self.take()
        return _both(operator.pow, base, self._signed(depth + 1))

    def _atom(self, depth: int) -> Evaluate:
        kind = self.tokens[self.at][0] if self.next else ""
        if kind == "number":
            number = float(self.take())
            return lambda values: number
        if kind == "name":
            return self._name(depth)
        self.take_sign("(") if self.next == "(" else self._refuse()
        inside = self.sum(depth + 1)
        self.take_sign(")")
        return inside

    def _refuse(self) -> None:
        raise self.wrong(EXPECTED)

    def _name(self, depth: int) -> Evaluate:
        name = self.take()
        if self.next != "(":
            self.names.add(name)
            return operator.itemgetter(name)
        if name not in FUNCTIONS:
            raise BadInput(f"formula {self.text!r}: function {name!r}: expected {', '.join(FUNCTIONS)}")
        function, counts = FUNCTIONS[name]
        arguments = self.arguments(depth)
        if len(arguments) not in counts:
            raise BadInput(f"formula {self.text!r}: {name} of {len(arguments)} numbers: "
                           f"expected {counts[0]}{' or more' if len(counts) > 1 else ''}")
        return lambda values: function(*(argument(values) for argument in arguments))

    def arguments(self, depth: int) -> list[Evaluate]:
        """Formulas with commas between them, in parentheses."""
        self.take_sign("(")
        found = [self.sum(depth + 1)]
        while self.next == ",":
            self.take()
            found.append(self.sum(depth + 1))
        self.take_sign(")")
        return found


def _both(apply: Callable[[float, float], float], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda values: apply(left(values), right(values))
