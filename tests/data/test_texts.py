"""Documents out of files: byte for byte, in order, in bounded memory, or refused in one line."""

import gzip
import json
import tracemalloc

import datasets
import pandas as pd
import pyarrow as pa
import pytest

from study.base import params
from study.data import spool, tables, texts
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


TEXT = b"one\r\n\r\nmore\n<|endoftext|>\ntwo\n"


def test_files_are_read_in_order_each_once(section, tmp_path):
    for name in ("b.txt", "a.txt", "c.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.txt").mkdir()
    section = section.model_copy(update={"files": [*section.files, str(tmp_path / "b*")]})
    assert documents(section) == [b"a.txt", b"b.txt", b"c.txt"]


def zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


PACKED = {"": bytes, ".gz": gzip.compress, ".zst": zstd}
packed = pytest.mark.parametrize(("end", "pack"), PACKED.items(), ids=PACKED)


@packed
def test_every_text_format_is_read_plain_and_packed(section, tmp_path, end, pack):
    """The files are written by the libraries that people write them with."""
    columns = {"id": list(range(7)), "text": NASTY}
    (tmp_path / f"a.txt{end}").write_bytes(pack(TEXT))
    lines = [json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(NASTY)]
    (tmp_path / f"b.jsonl{end}").write_bytes(pack("".join(lines).encode()))
    table = pd.DataFrame(columns).replace({"text": {"a\x00b": "ab"}})
    (tmp_path / f"c.csv{end}").write_bytes(pack(table.to_csv(index=False, lineterminator="\r\n").encode()))
    datasets.Dataset.from_dict(columns).to_parquet(tmp_path / "d.parquet")
    rows = [text.encode() for text in NASTY]
    of_csv = [text.replace(b"\0", b"") for text in rows]
    assert documents(section) == [b"one\r\n\r\nmore\n", b"two\n", *rows, *of_csv, *rows]


@packed
def test_files_that_were_joined_after_packing_are_read_to_the_end(section, tmp_path, end, pack):
    halves = (b'{"text": "one"}\n', b'{"text": "two"}\n')
    (tmp_path / f"a.jsonl{end}").write_bytes(b"".join(map(pack, halves)))
    assert documents(section) == [b"one", b"two"]


def test_each_file_is_said_to_have_so_many_documents(section, tmp_path, capsys):
    (tmp_path / "a.txt").write_bytes(b"one\n<|endoftext|>\n \n<|endoftext|>\ntwo\n<|endoftext|>\n")
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n{"text": ""}\n')
    documents(section)
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/a.txt: 2 documents, 10 bytes (1 blank left out)",
        f"{tmp_path}/b.jsonl: 1 document, 1 bytes (1 blank left out)",
    ]


def test_of_many_files_the_largest_are_said_and_the_others_in_one_line(section, tmp_path, capsys):
    for number in range(100):
        (tmp_path / f"{number:02}.txt").write_text("x" * (number + 1) + "<|endoftext|>x" * (number % 3))
    documents(section)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 21
    assert lines[19] == f"{tmp_path}/99.txt: 1 document, 100 bytes"
    assert lines[20].startswith("80 more files: 159 documents (1 to 3 each), ")


TABLES = {
    ".jsonl": lambda path: path.write_text('{"text": "a"}\n{"text": null}\n{"text": "b"}\n{"text": null}\n'),
    ".parquet": lambda path: datasets.Dataset.from_dict({"text": ["a", None, "b", None]}).to_parquet(path),
}


@pytest.mark.parametrize("kind", TABLES)
def test_null_rows_are_refused_or_skipped_with_their_number(section, tmp_path, capsys, kind):
    TABLES[kind](path := tmp_path / f"a{kind}")
    with pytest.raises(BadInput, match=r"row 2 of column 'text' is null: expected text, or corpus"):
        documents(section)
    capsys.readouterr()
    assert documents(section.model_copy(update={"null_rows": "skip"})) == [b"a", b"b"]
    assert f"{path}: 2 rows without text skipped\n" in capsys.readouterr().out


def test_null_rows_of_the_hub(section, tmp_path, capsys):
    datasets.Dataset.from_dict({"words": ["a", None]}).to_parquet(tmp_path / "train.parquet")
    assert documents(of_hub(section, str(tmp_path)).model_copy(update={"null_rows": "skip"})) == [b"a"]
    assert capsys.readouterr().out == "corpus.hub: 1 rows without text skipped\n"


BOM = "\ufeff"


def test_byte_order_marks_are_no_text(section, tmp_path):
    """Also where files with one were joined."""
    (tmp_path / "a.txt").write_text(f"{BOM}one\n<|endoftext|>\n{BOM}two\ufeff\n<|endoftext|>{BOM}three")
    (tmp_path / "b.jsonl").write_text(f'{BOM}{{"text": "one"}}\n{BOM}{{"text": "{BOM}two"}}\n')
    (tmp_path / "c.csv").write_text(f"{BOM}text,id\none,1\n{BOM}two,2\n")
    expected = ["one\n", "two\ufeff\n", "three", "one", f"{BOM}two", "one", f"{BOM}two"]
    assert [document.decode() for document in documents(section)] == expected


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


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 12345\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"fine\nnot \xff\n", "line 2 has byte 0xff: expected UTF-8 text"),
        ("a.txt", b"fine\n" * 30_000 + b"\xff\n", "line 30001 has byte 0xff: expected UTF-8 text"),
        ("a.txt", b"fine\nend \xc3", "line 2 ends within a character: expected UTF-8 text"),
        ("a.txt", "naïve".encode("utf-16"), "line 1 has byte 0xff: expected UTF-8 text"),
        ("a.txt", "naive".encode("utf-16-le"), "line 1 has a byte 0: expected UTF-8 text (UTF-16 has"),
        ("a.txt", b"fine\n" * 30_000 + b"\0\n", "line 30001 has a byte 0: expected UTF-8 text"),
        ("a.txt", b'{"id": 1, "text": "a"}\n{"id": 2', "expected text, or the name a.jsonl for JSON Lines"),
        ("a.txt", b'{"a": "' + b"x" * 100_000 + b'"}', "line 1 is a JSON object"),
        ("a.txt.gz", gzip.compress(b'{"text": "a"}\n' * 9), "expected text, or the name a.jsonl.gz"),
        ("a.txt.gz", gzip.compress(b"caf\xe9\n"), "line 1 has byte 0xe9: expected UTF-8 text"),
        ("a.txt.gz", gzip.compress(TEXT * 99)[:-9], "damaged .gz"),
        ("a.txt.gz", b"no gzip", "damaged .gz"),
        ("a.txt.zst", zstd(TEXT * 99)[:-9], "damaged .zst"),
        ("a.txt.zst", b"no zstd", "damaged .zst"),
        ("a.jsonl.zst", zstd(b"[1]"), "line 1 is [1]: expected a JSON object"),
        ("a.jsonl", b'{"text": "fine"}\n{"text": \n', "line 2: Expecting value: line 2 column 1"),
        ("a.jsonl", b'{"text": "caf\xe9"}\n', "expected"),
        ("a.jsonl", b'{"words": "fine"}\n', "corpus.text_column is 'text': expected words"),
        ("a.jsonl", b'{"text": 3}\n', "line 1: column 'text' is 3: expected text"),
        ("a.jsonl", b"[1]\n", "line 1 is [1]: expected a JSON object"),
        ("a.jsonl", b"[" * 100_000, "line 1: maximum recursion depth exceeded"),
        ("a.jsonl", b'{"text": "\\ud800"}', "row 1: surrogates not allowed"),
        ("a.csv", b"id;text\n1;fine\n", "corpus.text_column is 'text': expected id;text"),
        ("a.csv", b"", "corpus.text_column is 'text': expected a column of text"),
        ("a.csv", b"id,text\n1,fine\n2\n", "line 3 ends a row of 1 values: expected 2, as the first row has"),
        ("a.csv", b"text,text\na,b\n", "2 columns 'text': expected one"),
        ("a.csv", b'text\n"fine" or not\n', "line 2: ',' expected after '\"': expected CSV with commas"),
        ("a.csv", b'text\n"no end\n', "expected CSV with commas"),
        ("a.csv", b"text\rone\rtwo\r", "expected CSV with commas"),
        ("a.csv", b"text\nfine\ncaf\xe9\n", "line 3 has byte 0xe9: expected UTF-8 text"),
        ("a.csv", "text\nfine\n".encode("utf-16-le"), "line 1 has a byte 0"),
        ("a.parquet", b"PAR1 no", "expected a whole Parquet file"),
        ("a.json", b"[]", "expected only files in .txt, .txt.gz, .txt.zst, .jsonl, .jsonl.gz, .jsonl.zst, "),
        *((f"a{kind}", LFS, "a pointer of git-LFS: expected the file itself") for kind in texts.KINDS),
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
        (tmp_path / name).write_text('{"text": "fine"}' if "jsonl" in name else "fine")
    assert len(documents(section)) == 5
    assert not (tmp_path / "x").exists()


def test_a_small_file_does_not_fill_the_disk(section, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "FREE", 1 << 20)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"word " * 2_000_000))
    with pytest.raises(BadInput, match=r"a\.txt\.gz: over 100 times as much text as its \d+ bytes"):
        documents(section)
    (tmp_path / "a.txt.gz").unlink()
    datasets.Dataset.from_dict({"text": ["word" * 1000] * 9000}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(BadInput, match=r"b\.parquet: "):
        documents(section)
    (tmp_path / "b.parquet").unlink()
    monkeypatch.setattr(tables, "LONGEST_ROW", 1000)
    (tmp_path / "c.jsonl").write_text('{"text": "' + "x" * 1000)
    with pytest.raises(BadInput, match="line 1 has 1000 bytes or more: expected shorter rows"):
        documents(section)
    (tmp_path / "c.jsonl").unlink()
    (tmp_path / "d.csv").write_text('text\n"' + "x\n" * 1000)
    with pytest.raises(BadInput, match="line 498 is in a row of 1000 bytes or more: expected shorter rows"):
        documents(section)
