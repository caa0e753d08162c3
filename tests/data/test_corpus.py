"""From text to tokens on disk: the tokens decode to the text, and the manifest describes them."""

import hashlib
import json

import numpy as np
import pytest
from tokenizers import pre_tokenizers

from study.base import params
from study.data import corpus, spool, tokenizer
from study.data.params import CorpusParams, TokenizerParams
from study.data.spool import Split
from study.stages import corpus as stage
from variance_dynamics.base.errors import BadInput

DOCUMENTS = [f"Document {n} is about é and <|end|>, {'word ' * n}\r\n" for n in range(40)]


@pytest.fixture
def source(tmp_path):
    """Files of 40 documents, and the params section that names them."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.txt").write_bytes("<|endoftext|>\n".join(DOCUMENTS[:25]).encode())
    (folder / "b.txt").write_bytes("<|endoftext|>\n".join(DOCUMENTS[25:]).encode())
    return {"source": "files", "files": [str(folder / "*.txt")], "val_fraction": 0.1}


@pytest.fixture
def prepare(tree, source, tmp_path):
    def run(n_ctx=16, **changes):
        small = {"tokenizer": {"vocab_size": 300}}
        section = params.merged(params.merged(tree["corpus"] | source, small), changes)
        out = tmp_path / "out"
        for folder in (out, tmp_path / "scratch"):
            folder.mkdir(exist_ok=True)
        typed = params.typed(section, "corpus", CorpusParams)
        manifest = corpus.prepare(typed, n_ctx, tmp_path / "scratch", out)
        return manifest, out

    return run


def texts_of(manifest, out, split):
    """The documents of a split, decoded as the manifest says."""
    ids = np.fromfile(out / f"{split}.bin", dtype=manifest["dtype"])
    assert ids[-1] == manifest["end_of_text"] and len(ids) == manifest[split]["tokens"]
    bpe = tokenizer.load(out / "tokenizer.json")
    documents = np.split(ids, np.flatnonzero(ids == manifest["end_of_text"]) + 1)[:-1]
    return [bpe.decode(document[:-1].tolist(), skip_special_tokens=False) for document in documents]


def test_tokens_decode_to_the_documents_byte_for_byte(prepare):
    manifest, out = prepare()
    train, val = (texts_of(manifest, out, split) for split in corpus.SPLITS)
    assert len(val) == 4
    assert sorted(train + val) == sorted(DOCUMENTS)


def test_the_manifest_counts_what_is_there(prepare):
    manifest, out = prepare()
    assert json.loads((out / "manifest.json").read_text()) == manifest
    assert (manifest["vocab_size"], manifest["end_of_text"], manifest["dtype"]) == (300, 299, "<u2")
    each = [hashlib.sha256(document.encode()).digest() for document in DOCUMENTS]
    assert manifest["sha256"] == hashlib.sha256(b"".join(each)).hexdigest()
    for split in corpus.SPLITS:
        texts, counts = texts_of(manifest, out, split), manifest[split]
        size = sum(len(text.encode()) for text in texts)
        assert (counts["documents"], counts["bytes"]) == (len(texts), size)
        assert counts["bytes_per_token"] == pytest.approx(size / (counts["tokens"] - len(texts)), abs=1e-4)
        assert counts["sha256"] == hashlib.sha256((out / f"{split}.bin").read_bytes()).hexdigest()


def watched(monkeypatch):
    """A list that receives the texts on which the tokenizer is trained."""
    seen, train = [], tokenizer.train

    def watch(batches, vocab_size):
        seen.extend(text for batch in batches for text in batch)
        return train(iter([seen]), vocab_size)

    monkeypatch.setattr(tokenizer, "train", watch)
    return seen


def test_the_tokenizer_is_trained_on_the_training_split_only(prepare, monkeypatch):
    seen = watched(monkeypatch)
    manifest, out = prepare()
    assert "".join(seen) == "".join(texts_of(manifest, out, "train"))


def test_a_large_training_split_is_sampled_for_the_tokenizer(prepare, monkeypatch):
    seen = watched(monkeypatch)
    manifest, _ = prepare(tokenizer={"train_bytes": 1000})
    size = sum(len(text.encode()) for text in seen)
    assert 0 < size < 2000 < manifest["train"]["bytes"]


PRE_TOKENIZER = pre_tokenizers.ByteLevel(add_prefix_space=False)
CHINESE = [chr(0x4E00 + number) for number in range(3000)]


def unbroken(random, size):
    """Letters of a script without spaces, each like any other, and a full stop after every ten or so."""
    letters = random.choice(CHINESE, size // 3)
    letters[random.random(size // 3) < 0.1] = "。"
    return "".join(letters)


def spoken(random, size):
    """Text with spaces, of 2000 words."""
    words = ["".join(map(chr, random.integers(97, 123, random.integers(2, 9)))) for _ in range(2000)]
    return " ".join(random.choice(words, size // 6))[:size]


@pytest.mark.parametrize(("script", "least", "most"), [(unbroken, 150_000, 450_000), (spoken, 2.9e6, 1e7)])
def test_the_tokenizer_s_sample_follows_the_script(tmp_path, tree, script, least, most):
    """All of 3 MB with spaces; of 3 MB without them, as much as has 300 kB of distinct words."""
    text = spool.write(iter([script(np.random.default_rng(0), 3_000_000).encode(), None]), tmp_path)
    section = params.typed(tree["corpus"]["tokenizer"] | {"distinct_bytes": 300_000}, "t", TokenizerParams)
    train = Split(text, "train", 1e-9, 0)
    every = corpus.sampled_every(train, section)
    sample = [piece for piece, _ in train.pieces()][::every]
    words = {word for piece in sample for word, _ in PRE_TOKENIZER.pre_tokenize_str(piece)}
    assert sum(len(word.encode()) for word in words) < 2.1 * 300_000  # in the tokenizer's own alphabet
    assert least <= sum(len(piece.encode()) for piece in sample) <= most


def test_what_was_sampled_is_said(prepare, capsys):
    manifest, _ = prepare(tokenizer={"train_bytes": 1000})
    size = manifest["train"]["bytes"]
    every = -(-size // 1000)
    said = f"tokenizer: trained on {size // every} of {size} bytes, one piece of {spool.PIECE} in {every}\n"
    assert said in capsys.readouterr().out


def test_one_document_is_split_by_position(prepare, source, tmp_path):
    text = "A text of one document, which goes on and on.\n" * 100
    (tmp_path / "source/a.txt").unlink()
    (tmp_path / "source/b.txt").write_text(text)
    manifest, out = prepare()
    (train,), (val,) = (texts_of(manifest, out, split) for split in corpus.SPLITS)
    assert train + val == text and len(val) == pytest.approx(0.1 * len(text), rel=0.1)


def test_the_same_twice(prepare):
    written = []
    for _ in range(2):
        _, out = prepare()
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert written[0] == written[1] and len(written[0]) == 4


def test_ids_that_need_more_than_two_bytes():
    assert corpus.dtype(50257) == corpus.dtype(65536) == np.dtype("<u2")
    assert corpus.dtype(65537) == np.dtype("<u4")


def test_gpt2_s_own_tokenizer(prepare, shared_data):
    manifest, out = prepare(tokenizer={"kind": "gpt2", "gpt2_path": str(shared_data / "gpt2_bpe")})
    assert (manifest["vocab_size"], manifest["end_of_text"], manifest["dtype"]) == (50257, 50256, "<u2")
    assert sorted(texts_of(manifest, out, "train") + texts_of(manifest, out, "val")) == sorted(DOCUMENTS)


def test_a_corpus_shorter_than_a_context(prepare):
    with pytest.raises(BadInput, match=r"its val split has \d+ tokens: expected at least 1025, a context"):
        prepare(n_ctx=1024)
    manifest, _ = prepare()
    prepare(n_ctx=manifest["val"]["tokens"] - 1)
    with pytest.raises(BadInput, match="its val split"):
        prepare(n_ctx=manifest["val"]["tokens"])


@pytest.fixture
def project(tmp_path, monkeypatch, tree, source):
    """A folder with params.yaml, in which the stage runs."""
    tree |= {"study": "default", "studies": {"default": {}}}
    tree["corpus"] |= source | {"tokenizer": tree["corpus"]["tokenizer"] | {"vocab_size": 300}}
    tree["gpt2_presets"]["cpu"]["n_ctx"] = 16
    (tmp_path / "params.yaml").write_text(json.dumps(tree))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stage_says_the_share_of_the_validation_text(project, capsys):
    stage.main()
    manifest = json.loads((project / "data/corpus/manifest.json").read_text())
    train, val = (manifest[split]["bytes"] for split in corpus.SPLITS)
    said = f"val has {100 * val / (train + val):.2f}% of the text: corpus.val_fraction is 10.00%"
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == said
    assert [line.rsplit(",", 1)[0] for line in lines[:2]] == [
        f"{project}/source/a.txt: 25 documents", f"{project}/source/b.txt: 15 documents"]


def test_the_stage_replaces_what_was_there_and_leaves_nothing_else(project):
    (project / "data/corpus").mkdir(parents=True)
    (project / "data/corpus/old").touch()
    stage.main()
    names = sorted(path.name for path in (project / "data/corpus").iterdir())
    assert names == ["manifest.json", "tokenizer.json", "train.bin", "val.bin"]
    assert [path.name for path in (project / "data").iterdir()] == ["corpus"]


def test_the_stage_where_data_is_a_link_to_another_disk(project, other_disk):
    """Once by itself, and once over what is there."""
    (project / "data").symlink_to(other_disk)
    for _ in range(2):
        stage.main()
        assert [path.name for path in other_disk.iterdir()] == ["corpus"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "corpus has no text in it: expected at least one document that is not blank"),
        (b"\n \n", "corpus has no text in it"),
        (b"\xff", "b.txt: line 1 has byte 0xff: expected UTF-8 text"),
        (b"word", "expected at least 17, a context and one more"),
        ("é".encode(), "its train split has 0 tokens: expected at least 17"),
    ],
)
def test_the_stage_refuses_bad_text_in_one_line_and_keeps_earlier_tokens(project, capsys, content, message):
    stage.main()
    before = {path.name: path.read_bytes() for path in (project / "data/corpus").iterdir()}
    (project / "source/a.txt").unlink()
    (project / "source/b.txt").write_bytes(content)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        stage.main()
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and message in lines[0]
    assert {path.name: path.read_bytes() for path in (project / "data/corpus").iterdir()} == before
