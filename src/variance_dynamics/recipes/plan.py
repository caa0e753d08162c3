"""What a recipe says of one network: the law of each matrix and of each vector.

`initialize` draws by it and `audit` judges by it, so that both know the same std, and the same start of norms
and biases.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from variance_dynamics.base.errors import BadInput
from variance_dynamics.recipes.named import recipe_of_config
from variance_dynamics.recipes.recipe import Recipe
from variance_dynamics.recipes.rule import parse_rule
from variance_dynamics.roles.find_roles import NetworkRoles
from variance_dynamics.roles.names import clean
from variance_dynamics.weights.laws import Law, constant
from variance_dynamics.weights.norms import norm_start
from variance_dynamics.weights.parameter import Parameter
from variance_dynamics.weights.pieces import Piece, Shape

WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")
"""Names of the model's width in configs."""
ADAPTERS = {"lora_a": parse_rule("uniform(1 / sqrt(3 * fan_in))"), "lora_b": parse_rule("zero")}
"""Under every recipe: LoRA's A as a linear layer of PyTorch, its B at 0. Hu et al., arXiv 2106.09685."""


@dataclass(frozen=True)
class Described:
    """A network: its roles and shapes, and what its config and the classes of its modules say beside them."""

    roles: NetworkRoles
    shapes: Mapping[str, Shape]
    config: Mapping[str, Any] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def family(self) -> Recipe | None:
        """The recipe of the config's family, if it has one."""
        return recipe_of_config(self.config)

    @cached_property
    def sizes(self) -> dict[str, float]:
        """Numbers of the config, also inside its text_config; d_model and n_vocab."""
        inner = self.config.get("text_config")
        config = {**self.config, **(inner if isinstance(inner, Mapping) else {})}
        numbers = {name: float(value) for name, value in config.items()
                   if isinstance(value, int | float) and not isinstance(value, bool)
                   and abs(value) < 1e300 and name != "std"}
        return {**numbers, **self._width(numbers), **self._vocabulary()}

    def _width(self, numbers: Mapping[str, float]) -> dict[str, float]:
        given = [numbers[name] for name in WIDTHS if name in numbers]
        queries = [p.parameter.fan_in for p in self.roles.pieces if p.parameter.role == "q"]
        return {"d_model": float((given or queries or [0])[0])} if given or queries else self._of_embedding()

    def _of_embedding(self) -> dict[str, float]:
        widths = [p.parameter.fan_out for p in self.roles.pieces if p.parameter.role == "embedding"]
        return {"d_model": float(widths[0])} if widths else {}

    def _vocabulary(self) -> dict[str, float]:
        rows = [p.parameter.fan_in for p in self.roles.pieces if p.parameter.role == "embedding"]
        return {"n_vocab": float(rows[0])} if rows else {}

    @cached_property
    def siblings(self) -> dict[str, Parameter]:
        """Tensor -> the matrix in it, or the first of several."""
        return {piece.tensor: piece.parameter for piece in reversed(self.roles.pieces)}

    def std(self, recipe: Recipe, given: float | None = None) -> float:
        """The value of `std`: what the caller gives, else the config, else the recipe."""
        value = self.config.get("initializer_range")
        if given is not None:
            return given
        known = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e300
        return float(value) if known and value is not None else recipe.std

    def vector(self, name: str) -> Parameter:
        """A vector as a parameter: its fans, layer and depth are those of the matrix beside it, if any.

        Without one it has fan_in 1, and its size as fan_out.
        """
        label, role = clean(name), self.roles.vector_roles.get(name, "other")
        beside = next((self.siblings[other] for other in _beside(name) if other in self.siblings), None)
        if beside:
            return replace(beside, name=label, role=role)
        size = 1
        for length in self.shapes.get(name, ()):
            size *= length
        return Parameter(label, role, 0, 1, 1, size)


def _beside(name: str) -> list[str]:
    """Where the matrix that a bias belongs to may be: c_attn.bias, in_proj_bias, gate_up_proj_bias."""
    head, found, tail = name.rpartition("bias")
    return [f"{head}weight{tail}", head.rstrip("_.")] if found else []


@dataclass(frozen=True)
class Plan:
    """A recipe on a network, with the value of `std`."""

    recipe: Recipe
    described: Described
    std: float

    @cached_property
    def values(self) -> dict[str, float]:
        """What formulas may use."""
        return {**self.described.sizes, "std": self.std}

    def of_matrix(self, piece: Piece) -> tuple[Law, ...]:
        """Laws that the matrix may follow, the one to draw first; none if the recipe is not about it."""
        parameter = piece.parameter
        laws = self.recipe.laws(parameter, self.values)
        if laws or parameter.role not in ADAPTERS:
            return laws
        return (ADAPTERS[parameter.role].law({"fan_in": float(parameter.fan_in)}),)

    def start_of_matrix(self, piece: Piece) -> Law:
        """The law to draw the matrix by. Raises BadInput if the recipe is not about it."""
        laws = self.of_matrix(piece)
        if piece.note and not laws:
            raise BadInput(f"{piece.parameter.name}: {piece.note}: expected patterns={{regex: role}} "
                           "that does")
        if not laws:
            raise BadInput(f"{piece.parameter.name}: role is {piece.parameter.role!r}: expected a recipe "
                           f"with a rule for it, which {self.recipe.name} has not")
        return laws[0]

    def start_of_vector(self, name: str) -> Law:
        """The law to draw the vector by. Raises BadInput if nothing says it."""
        laws = self.of_vector(name)
        if not laws:
            raise BadInput(f"{name}: parameter without a role: expected a bias or a norm's weight, a "
                           "recipe with a rule for it, or patterns={regex: 'ignore'}")
        return laws[0]

    def of_vector(self, name: str) -> tuple[Law, ...]:
        """Laws that the vector may follow.

        A norm or bias that no rule is about starts at its family's value.
        """
        parameter = self.described.vector(name)
        laws = self.recipe.laws(parameter, self.values) or self._family(parameter)
        if laws or parameter.role not in ("norm", "bias"):
            return laws
        model_type = str(self.described.config.get("model_type", ""))
        module = self.described.types.get(name, "")
        norm = parameter.role == "norm" and not parameter.name.endswith("bias")
        return (constant(norm_start(parameter.name, module, model_type) if norm else 0.0),)

    def _family(self, parameter: Parameter) -> tuple[Law, ...]:
        family = self.described.family
        return family.laws(parameter, {**self.values, "std": self.described.std(family)}) if family else ()

    @cached_property
    def unmatched(self) -> tuple[str, ...]:
        """Patterns that the recipe says itself and that match no name."""
        names = [*(piece.parameter.name for piece in self.described.roles.pieces),
                 *map(clean, self.described.roles.vectors)]
        compiled = zip(self.recipe.patterns, self.recipe.compiled, strict=True)
        return tuple(text for text, (pattern, _) in compiled if text not in self.recipe.inherited
                     and not any(map(pattern.search, names)))

    @cached_property
    def uses_std(self) -> bool:
        """Whether any matrix's law depends on `std`."""
        other = replace(self, std=2 * self.std)
        return any(self.of_matrix(piece) != other.of_matrix(piece) for piece in self.described.roles.pieces)
