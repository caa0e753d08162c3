"""Tables in plain characters, and names from files as they may be shown."""

from collections.abc import Collection, Sequence


def printable(text: str) -> str:
    """`text` on one line, with escapes in place of characters that a terminal would obey or not show.

    These are line ends, escape sequences, marks that turn the direction of text, and halves of characters;
    names that come from files may hold any of them.

    >>> printable("h.0\\x1b[2J\\n.weight")
    'h.0\\\\x1b[2J\\\\n.weight'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def aligned(table: Sequence[Sequence[str]], words: Collection[str]) -> list[str]:
    """The lines of `table`, whose first row names the columns, each padded to its widest cell.

    Columns named in `words` are aligned to the left; all others hold numbers and are aligned to the right.
    What is not printable in a cell is escaped.
    """
    table = [[printable(cell) for cell in row] for row in table]
    names = table[0]
    widths = [max(len(row[i]) for row in table) for i in range(len(names))]
    padded = ([cell.ljust(width) if name in words else cell.rjust(width)
               for cell, width, name in zip(row, widths, names, strict=True)] for row in table)
    return ["  ".join(cells).rstrip() for cells in padded]
