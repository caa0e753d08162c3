"""Tables in plain characters."""

from collections.abc import Collection, Sequence


def aligned(table: Sequence[Sequence[str]], words: Collection[str]) -> list[str]:
    """The lines of `table`, whose first row names the columns, each padded to its widest cell.

    Columns named in `words` are aligned to the left; all others hold numbers and are aligned to the right.
    """
    names = table[0]
    widths = [max(len(row[i]) for row in table) for i in range(len(names))]
    padded = ([cell.ljust(width) if name in words else cell.rjust(width)
               for cell, width, name in zip(row, widths, names, strict=True)] for row in table)
    return ["  ".join(cells).rstrip() for cells in padded]
