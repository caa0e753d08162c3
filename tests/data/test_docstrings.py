"""Prose from docstrings: read without an import, and the same wherever a distribution is installed."""

import sys
from textwrap import dedent

import pytest

from study.data import docstrings
from variance_dynamics.base.errors import BadInput

SENTENCE = "This is the sentence about {} that a person would write to be read by others."


def sentence(topic):
    return SENTENCE.format(topic)


MODULE = f'''
"""{sentence("modules")}"""
raise SystemExit("imported")

class Thing:
    """{sentence("classes")}

    Parameters
    ----------
    x : array_like, shape (n, m)
        {sentence("parameters")} It goes on in
        the same paragraph.
    y : int

    >>> Thing() # this is the code of an example and it is not to be read as if it were text.

    - {sentence("items")}
    - {sentence("more items")}
    """

    def method(self):
        "{sentence("plain quotes")}"

if True:
    try:
        def function():
            """{sentence("functions")}"""
            text = """{sentence("strings that document nothing")}"""
    except ImportError:
        async def function():
            """{sentence("handlers")}"""
else:
    with open("x") as file:
        def function():
            """{sentence("else")}"""
'''
TOPICS = ["modules", "classes", "parameters", "items", "more items", "plain quotes", "functions", "handlers"]
TOPICS.append("else")


def install(folder, name, modules):
    """A distribution as pip leaves it: RECORD lists the files."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for path, text in modules.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text if isinstance(text, bytes) else text.encode())
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in modules))


def test_every_docstring_in_order_and_nothing_else():
    paragraphs = [text for doc in docstrings.docstrings(MODULE.encode()) for text in docstrings.prose(doc)]
    expected = [sentence(topic) for topic in TOPICS]
    expected[2] += " It goes on in the same paragraph."
    assert paragraphs == expected


@pytest.mark.parametrize("source", [b"def f(:\n    '''x'''", b"'''x\x00'''", b"'''\xe9'''"])
def test_a_file_that_does_not_parse_is_left_out(source):
    assert list(docstrings.docstrings(source)) == []


def test_a_file_says_its_encoding():
    assert list(docstrings.docstrings(b"# coding: latin-1\n'''\xe9'''")) == ["é"]


def test_grammar_newer_than_the_oldest_python_is_left_out_on_each():
    assert list(docstrings.docstrings(b"type X = int\n'''x'''\ndef f[T](a: T):\n    '''doc'''")) == []


@pytest.mark.parametrize(
    ("text", "is_prose"),
    [
        ("The input array, which must be of the same shape as the output.", True),
        ("Returns whether the given value is one of those that were seen before.", True),
        ("Too short to be kept.", False),
        ("a sentence that does not start with a capital is a part of something else.", False),
        ("This sentence has the right words in it but it does not come to an", False),
        (">>> print(the_value_of_it) and this is what it is, as of then, or so.", False),
        ("Where x = y + z * (a - b) / c ** 2, for i in [0, 1, 2], k[i] > 3 & m | n.", False),
        ("Numpy Scipy Pandas Torch Sympy Networkx Matplotlib Jupyter Python Cython Numba.", False),
        ("+-----+------+ | this is the table of it | and of that | to be or not |.", False),
        ("See https://example.org for what is said there about it and the rest.", False),
    ],
)
def test_what_reads_as_english(text, is_prose):
    assert docstrings.is_prose(text) == is_prose


def test_nothing_is_imported_and_nothing_depends_on_the_place(tmp_path, monkeypatch):
    modules = {
        "made_up/b.py": f'"""{sentence("b")}\r\n\r\n{sentence("shared")}"""',
        "made_up/a.py": f'"""{sentence("a")}\n\n{sentence("shared")}"""\nraise SystemExit',
        "made_up/tests/c.py": f'"""{sentence("tests")}"""',
        "made_up/data.txt": "no module",
        "../../bin/d.py": f'"""{sentence("scripts")}"""',
    }
    texts = []
    for place in ("one/x/y", "other/place"):
        install(tmp_path / place, "made-up", modules)
        with monkeypatch.context() as context:
            context.syspath_prepend(str(tmp_path / place))
            texts.append(list(docstrings.documents(["made-up"])))
        modules = dict(reversed(modules.items()))
    assert texts[0] == texts[1]
    assert texts[0] == [f"{sentence('a')}\n\n{sentence('shared')}\n", f"{sentence('b')}\n"]
    assert "made_up" not in sys.modules


def test_paragraphs_that_differ_in_names_only_count_once(tmp_path, monkeypatch):
    doc = dedent("""
        The output of the BertModel is what it was before, in 12 layers.

        The output of the GPT2Model is what it was before, in 24 layers.

        The output of the GPT2Model is what it was after, in 24 layers.
    """)
    install(tmp_path, "twice", {"twice.py": f'"""{doc}"""'})
    monkeypatch.syspath_prepend(str(tmp_path))
    (text,) = docstrings.documents(["twice"])
    assert text.count("\n\n") == 1 and "after" in text and "GPT2Model is what it was before" not in text


def test_distributions_that_are_not_there(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match=r"corpus\.packages has 'no-such-thing': expected an installed"):
        list(docstrings.documents(["no-such-thing"]))
    install(tmp_path, "binary-only", {"binary_only.so": b""})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BadInput, match=r"binary-only.*lists its \.py files"):
        list(docstrings.documents(["binary-only"]))


def test_a_real_distribution_is_english():
    text = "".join(docstrings.documents(["networkx"]))
    assert 300_000 < len(text) < 2_000_000
    words = text.lower().split()
    assert 0.04 < words.count("the") / len(words) < 0.12
    assert ">>>" not in text
