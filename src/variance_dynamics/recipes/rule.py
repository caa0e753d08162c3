"""One rule of a recipe: from its text, such as `truncated(.02, 3)`, to the law of one parameter's values."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from variance_dynamics.base.errors import BadInput, check_name
from variance_dynamics.recipes.formula import Formula, Values, parse
from variance_dynamics.weights.laws import ANY, NORMAL, ORTHOGONAL, UNIFORM, Law, constant, truncated

SHORT = {"zero": "constant(0)", "one": "constant(1)", "any": "any()"}
"""Words for whole rules."""
CALL = re.compile(r"\s*([a-z]+)\s*\((.*)\)\s*$", re.DOTALL)


def _between(low: float, high: float) -> Law:
    return Law(UNIFORM, (high - low) / math.sqrt(12), (low + high) / 2)


KINDS: dict[str, tuple[int, Callable[..., Law]]] = {
    "normal": (1, lambda std: Law(NORMAL, std)),
    "uniform": (1, lambda std: Law(UNIFORM, std)),
    "orthogonal": (1, lambda std: Law(ORTHOGONAL, std)),
    "truncated": (2, truncated),
    "between": (2, _between),
    "constant": (1, constant),
    "any": (0, lambda: Law(ANY)),
}
"""Name -> how many formulas it takes, and the law of their values.

normal, uniform, orthogonal: the std of the values. truncated: the std of the normal that is cut, and where,
in units of it. between: the ends of a uniform law.
"""


@dataclass(frozen=True)
class Rule:
    """A law whose numbers are still formulas."""

    text: str
    kind: str
    formulas: tuple[Formula, ...]

    def law(self, values: Values) -> Law:
        """The law at these values. Raises BadInput where a formula has no value, and for a std below 0."""
        law = KINDS[self.kind][1](*(formula.value(values) for formula in self.formulas))
        if law.std < 0 or not math.isfinite(law.std) or law.cut <= 0:
            raise BadInput(f"rule {self.text!r}: std is {law.std:g}: expected 0 or more")
        return constant(law.mean) if law.std == 0 and law.kind != ANY else law


def parse_rule(text: object) -> Rule:
    """The rule that a recipe's entry says: a number or formula is the std of a normal law.

    >>> str(parse_rule(".02 / sqrt(2 * depth)").law({"depth": 2.0}))
    'normal, std 0.01'
    """
    if isinstance(text, bool) or not isinstance(text, int | float | str):
        raise BadInput(f"rule is {text!r:.60}: expected a std, a formula, or one of "
                       f"{', '.join((*SHORT, *KINDS))}")
    words = str(text).strip()
    call = CALL.match(SHORT.get(words, words))
    if not call or call[1] in ("sqrt", "min", "max"):
        return Rule(words, "normal", (parse(words),))
    check_name(f"rule {words!r}: law", call[1], KINDS)
    count, formulas = KINDS[call[1]][0], tuple(map(parse, _arguments(call[2])))
    if len(formulas) != count:
        raise BadInput(f"rule {words!r}: {len(formulas)} numbers: expected {count}")
    return Rule(words, call[1], formulas)


def _arguments(text: str) -> list[str]:
    """The parts between commas that lie outside of parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts if text.strip() else []
