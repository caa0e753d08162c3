"""How often what was tried and how it ended, which pytest prints at its end (see conftest)."""

from collections import Counter, defaultdict

COUNTS: dict[str, Counter] = defaultdict(Counter)


def count(what, how):
    COUNTS[what][how] += 1


def lines():
    """A line for each thing that was tried."""
    for what, counter in COUNTS.items():
        ends = ", ".join(f"{number} {how}" for how, number in counter.most_common())
        yield f"{what}: {counter.total()} ({ends})"
