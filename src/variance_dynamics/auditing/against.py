"""Two models side by side: was each parameter of one drawn by the same law as that of the other?

For models that should have the same init, such as one that was made on the meta device and materialised, and
one that was made eagerly. No recipe is needed, as each is measured with its own sampling error.
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variance_dynamics.auditing.audit import Measured, measured
from variance_dynamics.auditing.judge import OFF
from variance_dynamics.auditing.sampling import FAMILIES, f_score, family, freedom, z_score
from variance_dynamics.auditing.tensors import Moments
from variance_dynamics.auditing.ties import ties_and_copies
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.terminal import aligned, printable
from variance_dynamics.roles.names import clean

if TYPE_CHECKING:
    from torch import nn

SAME = "the same law"
TESTS = 3
"""Tests per parameter: std, mean, kurtosis."""


@dataclass(frozen=True)
class Pair:
    """One parameter in both models: its std in each (None where it is missing), and the verdict."""

    name: str
    role: str
    shape: str
    std: float | None
    other: float | None
    verdict: str
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """Every parameter of both models; constants that are equal in both are counted and not listed."""

    source: str
    other: str
    pairs: tuple[Pair, ...]
    equal: int

    @property
    def alarms(self) -> tuple[Pair, ...]:
        """Parameters that were not drawn by the same law."""
        return tuple(pair for pair in self.pairs if pair.verdict == OFF)

    @property
    def exit_code(self) -> int:
        """1 where a parameter differs, else 0."""
        return int(bool(self.alarms))

    def __str__(self) -> str:
        columns = ("role", "tensor", "shape", "std", "other std", "ratio", "verdict")
        table = aligned([columns, *map(_cells, self.pairs)], words=("role", "tensor", "verdict"))
        counts = (f"{len(self.pairs) - len(self.alarms)} by {SAME}, {len(self.alarms)} {OFF}, "
                  f"{self.equal} constant and equal")
        return "\n".join([printable(f"{self.source} against {self.other}"), "", *table, "", counts])

    def to_json(self) -> str:
        """The comparison as one JSON object."""
        return json.dumps({"source": self.source, "other": self.other, "exit_code": self.exit_code,
                           "equal": self.equal, "pairs": [asdict(pair) for pair in self.pairs]}, indent=1)

    def to_csv(self) -> str:
        """One line per parameter."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(Pair.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**asdict(pair), "name": printable(pair.name)} for pair in self.pairs)
        return text.getvalue()


@dataclass(frozen=True)
class Parameter:
    """What a comparison needs of one parameter."""

    role: str
    shape: tuple[int, ...]
    moments: Moments
    structure: str = ""


def compare(source: "str | Path | nn.Module | Mapping[str, Any]",
            other: "str | Path | nn.Module | Mapping[str, Any]",
            patterns: Mapping[str, str] | None = None, heads: int | None = None) -> Comparison:
    """Compare two models, each given as to `audit`, parameter by parameter.

    Raises BadInput where one cannot be read, or where they have no name in common.
    """
    one, two = (measured(each, patterns, heads) for each in (source, other))
    mine, theirs = _parameters(one), _parameters(two)
    if not mine.keys() & theirs.keys():
        raise BadInput(f"{one.checkpoint.source}: {next(iter(mine))} and no other name is in "
                       f"{two.checkpoint.source}, as {next(iter(theirs))}: expected models with the same "
                       f"names")
    once = (_tied(one) | _tied(two)) - (mine.keys() & theirs.keys())
    z = z_score(TESTS * len(mine))
    found = [_pair(name, mine.get(name), theirs.get(name), z) for name in dict.fromkeys([*mine, *theirs])
             if name not in once]
    listed = tuple(pair for pair in found if pair.verdict == OFF or pair.std)
    return Comparison(one.checkpoint.source, two.checkpoint.source, listed, len(found) - len(listed))


def _parameters(model: Measured) -> dict[str, Parameter]:
    """By name, without the parts that wrappers insert: one of the two may be compiled."""
    _, copies = ties_and_copies(model.checkpoint, model.rows)
    same = {name: f"the same numbers as {other}" for name, other in copies.items()}
    matrices = {row.parameter.name: Parameter(row.parameter.role, row.piece.shape, row.moments,
                                              row.structure or same.get(row.parameter.name, ""))
                for row in model.rows}
    shapes = model.described.shapes
    return matrices | {clean(row.name): Parameter(row.role, shapes[row.name], row.moments)
                       for row in model.vectors}


def _tied(model: Measured) -> set[str]:
    """Matrices that are another one under a second name, which many files hold once."""
    tied, _ = ties_and_copies(model.checkpoint, model.rows)
    return {row.parameter.name for row in model.rows if row.piece.tensor in tied}


def _pair(name: str, one: Parameter | None, two: Parameter | None, z: float) -> Pair:
    known = one or two
    assert known is not None
    stds = [each.moments.std if each and each.moments.count else None for each in (one, two)]
    wrong = "; ".join(_differences(one, two, z))
    return Pair(name, known.role, "x".join(map(str, known.shape)), stds[0], stds[1], OFF if wrong else SAME,
                wrong)


def _differences(one: Parameter | None, two: Parameter | None, z: float) -> Iterator[str]:
    if one is None or two is None:
        yield f"only in the {'second' if one is None else 'first'}"
    elif one.shape != two.shape:
        yield f"shape is {list(two.shape)} in the second"
    elif one.moments.broken or two.moments.broken:
        yield f"{one.moments.broken:,} and {two.moments.broken:,} values NaN or infinite"
    elif one.moments.constant or two.moments.constant:
        if (one.moments.low, one.moments.high) != (two.moments.low, two.moments.high):
            yield f"{_said(one.moments)}, in the second {_said(two.moments)}"
    elif one.structure != two.structure:
        yield f"{one.structure or 'drawn'}, in the second {two.structure or 'drawn'}"
    else:
        yield from _of_draws(one.moments, two.moments, z)


def _of_draws(one: Moments, two: Moments, z: float) -> Iterator[str]:
    """Differences that sampling error does not explain."""
    nus = [freedom(each.count, FAMILIES[family(each.kurtosis, each.count)]) for each in (one, two)]
    if abs(f_score(one.std / two.std, nus[0], nus[1])) > z:
        yield f"std x{one.std / two.std:.3g}"
    error = math.hypot(one.std / math.sqrt(one.count), two.std / math.sqrt(two.count))
    if abs(one.mean - two.mean) > z * error:
        yield f"mean {one.mean:.3g}, in the second {two.mean:.3g}"
    families = [family(each.kurtosis, each.count) for each in (one, two)]
    if families[0] != families[1] and abs(one.kurtosis - two.kurtosis) > z * math.sqrt(24 * 2 / one.count):
        yield f"{families[0]}, in the second {families[1]}"


def _said(moments: Moments) -> str:
    return f"all {moments.low:.6g}" if moments.constant else f"std {moments.std:.4g}"


def _cells(pair: Pair) -> tuple[str, ...]:
    stds = ["" if value is None else f"{value:.5f}" for value in (pair.std, pair.other)]
    ratio = f"{pair.std / pair.other:.4f}" if pair.std and pair.other else ""
    verdict = f"{pair.verdict}: {pair.note}" if pair.note else pair.verdict
    return (pair.role, pair.name, pair.shape, *stds, ratio, verdict)
