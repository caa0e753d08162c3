"""Damaged data files, a thousand of each kind, given to the readers: run by itself under limits.

`python tests/reliability/damaged_files.py FOLDER COUNT SEED` prints how many were read, and how many refused,
by kind. Anything but the right result or a BadInput ends it with a traceback.
"""

import csv
import gzip
import hashlib
import io
import json
import re
import resource
import struct
import sys
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from study.base import params
from study.data import mnist, spool, texts
from study.data.params import CorpusParams
from variance_dynamics.base.errors import BadInput

MEMORY = 3 << 30
"""Bytes of address space: what the libraries map, and at most 1 GiB that a file may announce."""
WORDS = ["", "fine", "zwölf\r\n", "<|endoftext|>", "a" * 300, "\n\n", "𝔘"]


KINDS = ("idx", "idx.gz", "txt", "txt.gz", "txt.zst", "jsonl", "jsonl.gz", "jsonl.zst", "csv", "parquet")
BLANKS, END = rb"[ \t]{0,80}", rb"(?:\r{0,2}\n|\r|\Z)"
LINE = rb"(?<![^\r\n])%b<\|endoftext\|>%b%b" % (BLANKS, BLANKS, END)
SEPARATOR = rb"%b|<\|endoftext\|>(?:%b%b)?" % (LINE, BLANKS, END)


def whole(kind: str) -> bytes:
    """An honest file of a few kilobytes, before it is packed."""
    words = [WORDS[number % 7] + str(number) for number in range(200)]
    if kind.startswith("idx"):
        array = np.arange(20 * 28 * 28, dtype=np.uint8)
        return bytes([0, 0, 8, 3]) + struct.pack(">3I", 20, 28, 28) + array.tobytes()
    if kind.startswith("jsonl"):
        return "".join(json.dumps({"id": 3, "text": word}) + "\n" for word in words).encode()
    if kind == "csv":
        sheet = io.StringIO()
        csv.writer(sheet).writerows([["id", "text"], *([3, word] for word in words)])
        return sheet.getvalue().encode()
    if kind == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"id": range(200), "text": words}), sink, row_group_size=50)
        return sink.getvalue().to_pybytes()
    return "\n".join(words).encode()


def packed(kind: str, content: bytes) -> bytes:
    """The content as the end of `kind` says."""
    if kind.endswith(".zst"):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(content)
        return sink.getvalue().to_pybytes()
    return gzip.compress(content) if kind.endswith(".gz") else content


def unpacked(kind: str, path: Path) -> bytes:
    """What was packed."""
    if kind.endswith(".zst"):
        return pa.input_stream(path, compression="zstd").read()
    return gzip.decompress(path.read_bytes()) if kind.endswith(".gz") else path.read_bytes()


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Cut, flipped, overwritten, doubled, or with something huge where a size may be."""
    data = bytearray(content)
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(0, len(data) + 1)) if random.random() < 0.5 else int(random.integers(0, 64))
        way = random.integers(0, 6)
        if way == 0:
            del data[at:]
        elif way == 1 and at < len(data):
            data[at] ^= 1 << int(random.integers(0, 8))
        elif way == 2:
            data[at : at + 8] = random.bytes(8)
        elif way == 3:
            data[at : at + 4] = b"\xff\xff\xff\x7f"
        elif way == 4:
            data[at:at] = data[: int(random.integers(0, 200))]
        else:
            data[-64 + at % 64 :] = b""
    return bytes(data)


def read(kind: str, path: Path, section: CorpusParams, scratch: Path) -> None:
    """Read it, and compare with what another reader makes of the same bytes."""
    if kind.startswith("idx"):
        array, content = mnist.read_idx(path, 3), path.read_bytes()
        data = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        assert array.shape == struct.unpack(">3I", data[4:16]) and array.tobytes() == data[16:]
        return
    this_file = section.model_copy(update={"files": [str(path)]})
    with redirect_stdout(None):
        text = spool.write(texts.from_files(this_file), scratch)
    expected = [document for document in documents(kind, path) if document.strip()]
    assert text.path.read_bytes() == b"".join(expected)
    assert list(np.diff(text.ends, prepend=0)) == [len(document) for document in expected]
    assert text.sha256 == hashlib.sha256(b"".join(map(sha256, expected))).hexdigest()
    splits = [spool.Split(text, name, 0.1, 0).pieces() for name in ("train", "val")]
    assert sum(len(piece.encode()) for split in splits for piece, _ in split) == text.bytes


def documents(kind: str, path: Path) -> list[bytes]:
    """What lies in a file that can be read, by the shortest way there is."""
    if kind == "parquet":
        return [text.encode() for text in pq.read_table(path, columns=["text"])["text"].to_pylist()]
    content = unpacked(kind, path)
    if kind == "csv":
        header, *rows = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
        return [row[header.index("text")].encode() for row in rows if row]
    if kind.startswith("jsonl"):
        return [json.loads(line)["text"].encode() for line in content.split(b"\n") if line.strip()]
    return re.split(SEPARATOR, content)


def sha256(document: bytes) -> bytes:
    return hashlib.sha256(document).digest()


def main(folder: Path, count: int, seed: int) -> None:
    section = params.section(params.read(), "corpus", CorpusParams)
    random = np.random.default_rng(seed)
    scratch = folder / "scratch"
    scratch.mkdir()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for kind in KINDS:
        path, honest, ends = folder / f"a.{kind}", whole(kind), Counter[str]()
        for _ in range(count):
            path.write_bytes(damaged(packed(kind, honest), random))
            try:
                read(kind, path, section, scratch)
                ends["read"] += 1
            except BadInput as problem:
                assert str(path) in str(problem) or "corpus has no text" in str(problem), problem
                ends["refused"] += 1
            except BaseException:
                path.rename(folder / f"crash.{kind}")
                raise
        print(kind, dict(ends), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
