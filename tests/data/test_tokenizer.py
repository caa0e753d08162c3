"""The tokenizers lose nothing, read no separator in a text, are the same each time, and include GPT-2's."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from study.data import tokenizer
from variance_dynamics.base.errors import BadInput

CORPUS = ["It's the end of the text, <|endoftext|> the very end.\r\n"] * 20 + ["Über 3 Änderungen!"] * 5
BPE = tokenizer.train(iter([CORPUS]), 280)
END = BPE.token_to_id(tokenizer.END_OF_TEXT)
PIECES = st.sampled_from(["<|endoftext|>", "<|", "endoftext", "|>", " ", "\r\n", "\0", "é", "😀", "\ufeff"])
TEXT = st.lists(PIECES | st.text()).map("".join)


@settings(max_examples=500, deadline=None)
@given(TEXT)
def test_any_text_comes_back_and_holds_no_separator(text):
    ids = BPE.encode(text).ids
    assert END not in ids
    assert BPE.decode(ids, skip_special_tokens=False).encode() == text.encode()
    assert BPE.encode_batch_fast([text])[0].ids == ids


def test_the_separator_has_the_last_id_and_is_one_token_to_those_who_ask():
    assert END == BPE.get_vocab_size() - 1 == 279
    assert BPE.decode([END], skip_special_tokens=False) == tokenizer.END_OF_TEXT


def test_a_saved_tokenizer_is_the_same_one(tmp_path):
    BPE.save(str(tmp_path / "tokenizer.json"))
    again = tokenizer.load(tmp_path / "tokenizer.json")
    for text in CORPUS[-6:]:
        assert again.encode(text).ids == BPE.encode(text).ids


def test_all_bytes_have_an_id_even_if_the_text_is_small():
    small = tokenizer.train(iter([["a"]]), 4096)
    assert small.get_vocab_size() == 257
    assert small.decode(small.encode("\x00ÿ漢").ids) == "\x00ÿ漢"


def test_two_processes_train_the_same_tokenizer(tmp_path):
    """Hash seeds and thread counts differ between them."""
    script = (
        "import sys; from study.data import docstrings, tokenizer\n"
        "texts = [text for text in docstrings.documents(['hypothesis', 'tqdm'])]\n"
        "tokenizer.train((texts[i:i + 3] for i in range(0, len(texts), 3)), 1000).save(sys.argv[1])"
    )
    saved = []
    for threads in ("1", "4"):
        path = tmp_path / threads
        env = {**os.environ, "PYTHONHASHSEED": threads, "RAYON_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-c", script, str(path)], env=env, check=True, capture_output=True)
        saved.append(path.read_bytes())
    assert saved[0] == saved[1]
    assert len(json.loads(saved[0])["model"]["merges"]) == 1000 - 257


def test_gpt2_s_own(shared_data):
    gpt2 = tokenizer.gpt2(shared_data / "gpt2_bpe")
    assert gpt2.encode("Hello world").ids == [15496, 995]
    assert gpt2.token_to_id(tokenizer.END_OF_TEXT) == 50256 == gpt2.get_vocab_size() - 1
    text = "a<|endoftext|>b naïve 😀\r\n\r\n  x"
    assert 50256 not in gpt2.encode(text).ids
    assert gpt2.decode(gpt2.encode(text).ids, skip_special_tokens=False) == text


def test_gpt2_s_own_is_that_of_transformers(shared_data):
    from transformers import GPT2Tokenizer

    folder = shared_data / "gpt2_bpe"
    theirs = GPT2Tokenizer(vocab=str(folder / "encoder.json"), merges=str(folder / "vocab.bpe"))
    ours = tokenizer.gpt2(folder)
    for text in [*CORPUS[-6:-4], "  They'll go\n\n\tto 1234 places – or 漢字!  "]:
        text = text.replace(tokenizer.END_OF_TEXT, "")
        assert ours.encode(text).ids == theirs.encode(text)


def write_form(folder, form, theirs):
    """GPT-2's files under other names, written by the library that reads them for most people."""
    if form == ("tokenizer.json",):
        Tokenizer(theirs).save(str(folder / "tokenizer.json"))
        return
    for name, saved in zip(form, theirs.save(str(folder), "saved"), strict=True):
        (folder / saved).rename(folder / name)


@pytest.fixture(scope="module")
def theirs(shared_data):
    return models.BPE.from_file(*(str(shared_data / "gpt2_bpe" / name) for name in tokenizer.FORMS[0]))


@pytest.mark.parametrize("form", tokenizer.FORMS, ids="+".join)
def test_gpt2_s_own_under_the_names_of_its_files(tmp_path, shared_data, theirs, form):
    write_form(tmp_path, form, theirs)
    assert tokenizer.gpt2(tmp_path).to_str() == tokenizer.gpt2(shared_data / "gpt2_bpe").to_str()


def test_forms_beside_one_another_must_agree(tmp_path, theirs):
    for form in tokenizer.FORMS:
        write_form(tmp_path, form, theirs)
    whole = tokenizer.gpt2(tmp_path).to_str()
    text = (tmp_path / "merges.txt").read_text()
    first, second, *others = text.splitlines()[1:]
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", second, first, *others, ""]))
    with pytest.raises(BadInput, match=r"encoder\.json and vocab\.json differ: expected one tokenizer"):
        tokenizer.gpt2(tmp_path)
    (tmp_path / "merges.txt").unlink()
    assert tokenizer.gpt2(tmp_path).to_str() == whole


@pytest.mark.parametrize("names", tokenizer.FORMS[:2])
@pytest.mark.parametrize(
    ("encoder", "merges", "message"),
    [
        (None, "#version: 0.2\n", "is there: expected encoder.json and vocab.bpe, vocab.json and merges.txt"),
        ("{}", None, "alone is there: expected encoder.json and vocab.bpe"),
        (None, None, "none of its files is there: expected encoder.json"),
        ("{", "#version: 0.2\n", "expected GPT-2's own files"),
        ("[]", "#version: 0.2\n", "expected GPT-2's own files"),
        ("[" * 100_000, "#version: 0.2\n", "expected GPT-2's own files"),
        ('{"a": 0, "b": 1, "ab": 2}', "#version: 0.2\na b\n", "3 tokens: expected GPT-2's 50257"),
        ('{"a": 0}', "#version: 0.2\na b\n", "a merge is not of two of its tokens: expected GPT-2's"),
        ('{"a": 0}', "a\n", "expected GPT-2's own files"),
        ('{"a": 1}', "", "ids are not 0, 1, 2 and so on"),
    ],
)
def test_files_that_are_not_gpt2_s(tmp_path, names, encoder, merges, message):
    for name, content in zip(names, (encoder, merges), strict=True):
        if content is not None:
            (tmp_path / name).write_text(content)
    with pytest.raises(BadInput) as problem:
        tokenizer.gpt2(tmp_path)
    assert message in str(problem.value) and str(tmp_path) in str(problem.value)
    assert "\n" not in str(problem.value)


NOT_ONES = ["{}", '{"model": {}}', '{"model": {"vocab": {}, "merges": [1]}}', "3", "\0"]


@pytest.mark.parametrize("content", NOT_ONES)
def test_a_tokenizer_json_that_is_not_gpt2_s(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(BadInput, match=r"tokenizer\.json: .*expected GPT-2's own files"):
        tokenizer.gpt2(tmp_path)
