"""Made-up corpora in scripts other than English: the same text for the same seed, and without end."""

from collections.abc import Callable, Iterator

import numpy as np

HAN = [chr(0x4E00 + number) for number in range(3000)]
ABJAD = [chr(number) for number in range(0x0621, 0x064B) if not 0x063B <= number <= 0x0640]
LATIN = [chr(number) for number in range(97, 123)]
Writer = Callable[[np.random.Generator], str]


def zipf(count: int) -> np.ndarray:
    """How often the words of a language are used, by rank."""
    shares = 1 / np.arange(1, count + 1)
    return shares / shares.sum()


def words(random: np.random.Generator, letters: list[str], count: int) -> list[str]:
    sizes = random.integers(2, 9, count)
    return ["".join(random.choice(letters, size)) for size in sizes]


def chinese() -> Writer:
    """Clauses of some ten characters, of which a few are used often; no space anywhere."""
    shares = zipf(len(HAN))

    def write(random: np.random.Generator) -> str:
        letters = random.choice(HAN, 1000, p=shares)
        letters[random.random(1000) < 0.1] = "。"
        return "".join(letters)

    return write


def arabic() -> Writer:
    """Words with spaces, of which one in five carries a mark above its letters."""
    vocabulary = words(np.random.default_rng(1), ABJAD, 20_000)
    marks = ["", "", "", "", "\u0651"]
    shares = zipf(len(vocabulary))

    def write(random: np.random.Generator) -> str:
        chosen = random.choice(vocabulary, 200, p=shares)
        return " ".join(word + marks[int(random.integers(5))] for word in chosen) + "،\n"

    return write


def code() -> Writer:
    """Lines of a program: names, numbers, brackets and indents."""
    names = words(np.random.default_rng(2), LATIN, 5000)

    def line(random: np.random.Generator) -> str:
        one, two, three = (names[int(each)] for each in random.zipf(1.3, 3) % len(names))
        indent, number = "    " * int(random.integers(4)), int(random.integers(1000))
        return f'{indent}{one}_{two} = {three}({number}, "{two}")\n'

    return lambda random: "".join(line(random) for _ in range(60))


SCRIPTS: dict[str, Callable[[], Writer]] = {"Chinese": chinese, "Arabic": arabic, "code": code}


def documents(script: str, size: int, seed: int = 0) -> Iterator[str]:
    """Documents of some kilobytes until there are `size` bytes."""
    write, random = SCRIPTS[script](), np.random.default_rng(seed)
    while size > 0:
        document = "".join(write(random) for _ in range(int(random.integers(1, 8))))
        size -= len(document.encode())
        yield document
