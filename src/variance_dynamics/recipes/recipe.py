"""A recipe: which law the values of each parameter are drawn from, by its role or its name.

A recipe is a mapping. Its keys are roles (several with commas between them), groups of roles, or patterns on
names; its values are rules, or lists of rules of which the first is drawn and all are right. A pattern comes
before a role, a role before a group, and a group before one of more roles. Other keys:

source    where the recipe comes from
values    numbers that formulas may use, such as {std: .02}, where neither caller nor config gives them
like      another recipe, of which this one changes what it says itself
scheme    an entry of weights.schemes.SCHEMES, which sets what no rule is about
families  the model_types of Hugging Face configs whose own init this is
auto      kinds of networks (audit's) for which it is considered where no recipe is named
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from variance_dynamics.base.errors import BadInput
from variance_dynamics.recipes.formula import Values, parse
from variance_dynamics.recipes.rule import Rule, parse_rule
from variance_dynamics.weights.laws import ORTHOGONAL, Law, law_of_scheme
from variance_dynamics.weights.parameter import RESIDUAL, ROLES, TABLES, VECTOR_ROLES, Parameter
from variance_dynamics.weights.schemes import MATRICES, SCHEMES

KEYS = (*ROLES, *VECTOR_ROLES)
"""Every role, of matrices and of vectors."""
GROUPS = {"matrices": MATRICES, "embeddings": TABLES, "residual": RESIDUAL}
"""Name of several roles together -> the roles."""
WORDS = ("source", "values", "like", "scheme", "families", "auto")
USUAL_STD = 0.02
"""The std of GPT-2, and of most transformers since."""

Rules = tuple[Rule, ...]


@dataclass(frozen=True)
class Recipe:
    """`laws` gives the law of one parameter; `rules` maps roles, `patterns` patterns on names to rules.

    `inherited` are the patterns that the recipe has from the one that it is like.
    """

    name: str
    rules: Mapping[str, Rules]
    patterns: Mapping[str, Rules] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    scheme: str = ""
    source: str = ""
    families: tuple[str, ...] = ()
    auto: tuple[str, ...] = ()
    inherited: tuple[str, ...] = ()

    @property
    def std(self) -> float:
        """The value of `std` where neither caller nor config gives one."""
        return self.values.get("std", USUAL_STD)

    @cached_property
    def compiled(self) -> list[tuple["re.Pattern[str]", Rules]]:
        """Patterns, each of which matches whole parts of a name between its dots."""
        return [(re.compile(rf"(^|\.)(?:{pattern})(\.|\[|$)"), rules)
                for pattern, rules in self.patterns.items()]

    def laws(self, parameter: Parameter, values: Values) -> tuple[Law, ...]:
        """Laws that this parameter may follow, the one to draw first; none if the recipe is not about it.

        `values` are what formulas may use beside the parameter's own fans, layer and depth. Raises BadInput
        for a formula without a value.
        """
        own = {**self.values, **values, "fan_in": float(parameter.fan_in),
               "fan_out": float(parameter.fan_out),
               "layer": float(parameter.layer), "depth": float(parameter.depth)}
        rules = next((rules for pattern, rules in self.compiled if pattern.search(parameter.name)), None)
        rules = self.rules.get(parameter.role, ()) if rules is None else rules
        if rules:
            return tuple(rule.law(own) for rule in rules)
        return self._by_scheme(parameter, own["std"]) if self.scheme else ()

    def _by_scheme(self, parameter: Parameter, std: float) -> tuple[Law, ...]:
        """The scheme's law.

        Its std says all: who draws by it takes a normal or a uniform law as they like.
        """
        scheme = SCHEMES[self.scheme]
        expected = scheme.expected(parameter, std)
        if expected is None:
            return ()
        law = law_of_scheme(scheme, parameter, expected)
        return (replace(law, any_shape=law.kind != ORTHOGONAL and self.scheme != "gpt2"),)


def parse_recipe(name: str, entries: Mapping[str, Any], base: Recipe | None = None) -> Recipe:
    """The recipe that a mapping says; `base` is the one that it is like, if any.

    Raises BadInput for a rule that cannot be read, a pattern that is none, and a word that is nearly a role.
    """
    if not entries or not all(isinstance(key, str) for key in entries):
        raise BadInput(f"recipe {name}: {str(dict(entries))[:60]}: expected roles or patterns "
                       "with their rules")
    patterns: dict[str, Rules] = {}
    by_role: list[tuple[int, str, Rules]] = []
    for key in (key for key in entries if key not in WORDS):
        parsed = _rules(name, key, entries[key])
        parts = [part.strip() for part in key.split(",")]
        if all(part in KEYS or part in GROUPS for part in parts):
            by_role += [(-len(GROUPS.get(part, (part,))), role, parsed)
                        for part in parts for role in GROUPS.get(part, (part,))]
        else:
            patterns[_pattern(name, key)] = parsed
    rules = {role: parsed for _, role, parsed in sorted(by_role, key=lambda entry: entry[0])}
    own = Recipe(name, rules, patterns, _values(name, entries.get("values", {})), _scheme(name, entries),
                 str(entries.get("source", "")), tuple(entries.get("families", ())),
                 tuple(entries.get("auto", ())))
    return _over(base, own) if base else own


def _over(base: Recipe, own: Recipe) -> Recipe:
    """`own`, and what `base` says beside it; own patterns come first, also before equal ones of the base."""
    inherited = {text: rules for text, rules in base.patterns.items() if text not in own.patterns}
    return replace(own, rules={**base.rules, **own.rules}, patterns={**own.patterns, **inherited},
                   inherited=tuple(inherited),
                   values={**base.values, **own.values}, scheme=own.scheme or base.scheme,
                   source=own.source or base.source)


def _rules(name: str, key: str, entry: Any) -> Rules:
    entries = entry if isinstance(entry, list | tuple) else [entry]
    try:
        parsed = tuple(map(parse_rule, entries))
        vectors = {part.strip() for part in key.split(",")} <= set(VECTOR_ROLES)
        if vectors and any(rule.kind == "normal" and not rule.text.startswith("normal") for rule in parsed):
            raise BadInput(f"{entry}: expected zero, one, constant(number) or normal(std) for a vector")
    except BadInput as problem:
        raise BadInput(f"recipe {name}: {key}: {problem}") from None
    if not parsed:
        raise BadInput(f"recipe {name}: {key}: no rule: expected one")
    return parsed


def _pattern(name: str, key: str) -> str:
    for part in key.split(","):
        near = difflib.get_close_matches(part.strip(), (*KEYS, *GROUPS, *WORDS), 1, 0.8)
        if near and part.strip().isidentifier():
            raise BadInput(f"recipe {name}: {key!r} is no role: expected {near[0]}, or for a pattern on "
                           f"names one such as '.*\\.{part.strip()}'")
    try:
        re.compile(key)
    except re.error as problem:
        raise BadInput(f"recipe {name}: {key!r}: {problem}: expected a role or a pattern") from None
    return key


def _values(name: str, values: Any) -> dict[str, float]:
    if not isinstance(values, Mapping):
        raise BadInput(f"recipe {name}: values is {values!r:.60}: expected names with numbers")
    try:
        return {str(key): parse(str(value)).value({}) for key, value in values.items()}
    except BadInput as problem:
        raise BadInput(f"recipe {name}: values: {problem}") from None


def _scheme(name: str, entries: Mapping[str, Any]) -> str:
    scheme = str(entries.get("scheme", ""))
    if scheme and scheme not in SCHEMES:
        raise BadInput(f"recipe {name}: scheme is {scheme!r}: expected one of {', '.join(SCHEMES)}")
    return scheme
