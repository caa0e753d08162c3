"""Documents out of files: byte for byte, in order, in bounded memory, or refused in one line."""

import gzip
import json
import tracemalloc

import datasets
import pytest

from study.base import params
from study.data import spool, texts
from study.data.params import CorpusParams
from variance_dynamics.base.errors import BadInput

NASTY = ["é\r\nß\u2028\x85 \t", "<|endoftext|>", "a\x00b", "2020-01-01", '"quoted" \\n', "𝔘\U0001f600", "0"]


@pytest.fixture
def section(tree, tmp_path):
    tree["corpus"] |= {"source": "files", "files": [str(tmp_path / "*")]}
    return params.section(tree, "corpus", CorpusParams)


def documents(section):
    collected, current = [], b""
    for chunk in texts.SOURCES[section.source](section):
        if chunk is None:
            collected.append(current)
            current = b""
        else:
            current += chunk
    assert current == b""
    return collected


TEXT = "one\r\n\r\nmore\n@\ntwo @\n@\r\n@\nthree\n\x85\u2028é".replace("@", "<|endoftext|>").encode()
SPLIT = ["one\r\n\r\nmore\n", "two <|endoftext|>\n", "", "three\n\x85\u2028é"]


@pytest.mark.parametrize(("name", "pack"), [("a.txt", bytes), ("a.txt.gz", gzip.compress)])
def test_text_files_are_split_at_separator_lines_and_otherwise_untouched(section, tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(TEXT))
    assert documents(section) == [text.encode() for text in SPLIT]


def test_files_are_read_in_order_each_once(section, tmp_path):
    for name in ("b.txt", "a.txt", "c.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.txt").mkdir()
    section = section.model_copy(update={"files": [*section.files, str(tmp_path / "b*")]})
    assert documents(section) == [b"a.txt", b"b.txt", b"c.txt"]


def test_long_lines_come_in_chunks_and_no_chunk_is_a_separator_by_accident(section, tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "LONGEST_LINE", 1)
    text = "<|endoftext|><|endoftext|>é" * 3 + "\n<|endoftext|>x\n<|endoftext|>"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert documents(section) == [text.encode()[:-13], b""]


def test_rows_of_json_and_parquet(section, tmp_path):
    lines = [json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(NASTY)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    datasets.Dataset.from_dict({"n": [0] * 7, "text": NASTY}).to_parquet(tmp_path / "b.parquet")
    assert documents(section) == [text.encode() for text in NASTY] * 2


def of_hub(section, path):
    hub = section.hub.model_copy(update={"path": path, "name": None})
    return section.model_copy(update={"source": "hub", "text_column": "words", "hub": hub})


def test_a_hub_data_set_is_streamed(section, tmp_path):
    """A data set in a local folder stands for the hub's: the same loader, no network."""
    datasets.Dataset.from_dict({"words": NASTY}).to_parquet(tmp_path / "train.parquet")
    assert documents(of_hub(section, str(tmp_path))) == [text.encode() for text in NASTY]
    with pytest.raises(BadInput, match=r"corpus\.hub: no-one/nothing-like-this: .*expected"):
        documents(of_hub(section, "no-one/nothing-like-this"))


def test_a_data_set_s_own_code_is_not_run(section, tmp_path):
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil/evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(BadInput, match=r"corpus\.hub: .*expected a data set that loads"):
        documents(of_hub(section, str(tmp_path / "evil")))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"fine\nnot \xff\n", "line 2 has byte 0xff: expected UTF-8 text"),
        ("a.txt", b"fine\nend \xc3", "line 2 ends within a character: expected UTF-8 text"),
        ("a.txt", "naïve".encode("utf-16"), "line 1 has byte 0xff: expected UTF-8 text"),
        ("a.txt.gz", gzip.compress(b"caf\xe9\n"), "line 1 has byte 0xe9: expected UTF-8 text"),
        ("a.txt.gz", gzip.compress(TEXT * 99)[:-9], "damaged gzip"),
        ("a.txt.gz", b"no gzip", "damaged gzip"),
        ("a.jsonl", b'{"text": "fine"}\n{"text": \n', "line 2: Expecting value: line 2 column 1"),
        ("a.jsonl", b'{"text": "caf\xe9"}\n', "expected"),
        ("a.jsonl", b'{"words": "fine"}\n', "corpus.text_column is 'text': expected words"),
        ("a.jsonl", b'{"text": "fine"}\n{"text": null}\n', "line 2: column 'text' is None: expected text"),
        ("a.jsonl", b'{"text": 3}\n', "line 1: column 'text' is 3: expected text"),
        ("a.jsonl", b"[1]\n", "line 1 is [1]: expected a JSON object"),
        ("a.jsonl", b"[" * 100_000, "line 1: maximum recursion depth exceeded"),
        ("a.jsonl", b'{"text": "\\ud800"}', "document 1: surrogates not allowed"),
        ("a.parquet", b"PAR1 no", "expected a whole Parquet file"),
        ("a.csv", b"text\nfine\n", "expected only files in .txt, .txt.gz, .jsonl, .parquet"),
    ],
)
def test_files_that_are_wrong_are_refused_in_one_line(section, tmp_path, caplog, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput) as problem:
        documents(section)
    assert message in str(problem.value) and str(tmp_path / name) in str(problem.value)
    assert "\n" not in str(problem.value)
    assert not caplog.records


def test_a_glob_that_names_nothing(section):
    with pytest.raises(BadInput, match=r"which matches no file: expected files in \.txt"):
        documents(section)


def test_memory_does_not_grow_with_the_text(section, tmp_path):
    """One line of 12 MB, the worst case, through reading, spooling and cutting."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_bytes(b"word " * 2_400_000)
    section = section.model_copy(update={"files": [str(tmp_path / "texts/*")]})
    tracemalloc.start()
    try:
        text = spool.write(texts.from_files(section), tmp_path)
        assert sum(len(piece) for piece, _ in spool.Split(text, "train", 0.1, 0).pieces()) == 10_800_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("pattern", ["**/*.txt", "**", "b/**", "b/**/*.txt", "**/c/**/*"])
def test_deep_globs_end_where_links_make_circles(section, tmp_path, monkeypatch, pattern):
    """Two links lead to their own folder: glob.glob would follow both, 40 levels down."""
    (tmp_path / "b/c/.hidden").mkdir(parents=True)
    for name in ("b/c/d.txt", "b/c/.e.txt", "b/c/.hidden/f.txt"):
        (tmp_path / name).write_text("fine")
    for link in ("b/one", "b/two"):
        (tmp_path / link).symlink_to(tmp_path / "b")
    monkeypatch.chdir(tmp_path)
    assert {path.resolve() for path in texts.paths([pattern])} == {tmp_path / "b/c/d.txt"}
    assert texts.paths([pattern, f"{tmp_path}/{pattern}"])


@pytest.mark.parametrize(
    "pattern",
    ["\0", "a\0*", "**/\0", "", "/dev/zero", "/dev/*.txt", "~nobody/*", "$HOME/*", "[", "a" * 9999],
)
def test_globs_that_name_no_file(section, tmp_path, pattern):
    with pytest.raises(BadInput, match="matches no file"):
        texts.paths([pattern])


def test_names_with_a_shell_s_characters_are_names(section, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("$(touch x).txt", "; touch x;.txt", "[a].txt", "*.jsonl", "<b>.txt"):
        (tmp_path / name).write_text('{"text": "fine"}')
    assert len(documents(section)) == 5
    assert not (tmp_path / "x").exists()


def test_a_small_file_does_not_fill_the_disk(section, tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "FREE", 1 << 20)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"word " * 2_000_000))
    with pytest.raises(BadInput, match=r"a\.txt\.gz: over 100 times as much text as its \d+ bytes"):
        documents(section)
    (tmp_path / "a.txt.gz").unlink()
    datasets.Dataset.from_dict({"text": ["word" * 1000] * 9000}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(BadInput, match=r"b\.parquet: "):
        documents(section)
    (tmp_path / "b.parquet").unlink()
    monkeypatch.setattr(texts, "LONGEST_ROW", 1000)
    (tmp_path / "c.jsonl").write_text('{"text": "' + "x" * 1000)
    with pytest.raises(BadInput, match="line 1 has 1000 bytes or more: expected shorter rows"):
        documents(section)
