"""What tables made of formulas share: columns, and intervals around their values."""

import pandas as pd


def table(rows, names):
    return pd.DataFrame(rows, columns=names.split())


def ended(names):
    """Names of columns, each followed by those of its interval's ends."""
    return " ".join(f"{name}{end}" for name in names.split() for end in ("", "_lo", "_hi"))


def spread(values, width):
    """Each value, followed by the ends of an interval of this relative width."""
    return [value * end for value in values for end in (1, 1 - width, 1 + width)]
