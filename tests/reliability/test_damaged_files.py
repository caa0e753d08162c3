"""Damaged and hostile data files: a result or one line, in bounded memory and time."""

import gzip
import os
import resource
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imports import ROOT

ENV = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
KINDS = 10


def fuzzed(folder, count, seed):
    command = [sys.executable, ROOT / "tests/reliability/damaged_files.py", folder, str(count), str(seed)]
    result = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=1800)
    assert result.returncode == 0, result.stderr[-2000:]
    lines = result.stdout.splitlines()
    assert len(lines) == KINDS and all("refused" in line for line in lines), result.stdout


def test_damaged_files_are_read_or_refused(tmp_path):
    fuzzed(tmp_path, 60, seed=0)


@pytest.mark.reliability
@pytest.mark.parametrize("seed", range(1, 4))
def test_thousands_of_damaged_files_are_read_or_refused(tmp_path, seed):
    fuzzed(tmp_path, 2000, seed)


BOMB = """
import sys
from pathlib import Path
from study.base import params
from variance_dynamics.base.errors import one_line
from study.data import mnist
from study.data import spool
from study.data import texts
from study.data.params import CorpusParams

def main():
    path, scratch = Path(sys.argv[1]), Path(sys.argv[2])
    section = params.section(params.read(), "corpus", CorpusParams).model_copy(update={"files": [str(path)]})
    mnist.read_idx(path, 3) if "idx" in path.name else spool.write(texts.from_files(section), scratch)

one_line(main)()
"""
MEMORY = 3 << 30
PACKED = {".gz": lambda path: gzip.GzipFile(path, "wb", 1),
          ".zst": lambda path: pa.CompressedOutputStream(str(path), "zstd")}


def limited():
    """Twenty seconds are the processor's, not the clock's: the machine may be busy."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))


def plant(path):
    """Some kilobytes that unpack to gigabytes."""
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 60000, 28, 28)
    blank = pa.array(["x" * (50 << 20)])
    if path.name == "dictionary.parquet":
        table = pa.table({"text": pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), blank)})
        return pq.write_table(table, path, compression="zstd")
    if path.name == "rows.parquet":
        return pq.write_table(pa.table({"text": pa.concat_arrays([blank] * 20)}), path, use_dictionary=False)
    starts = {".jsonl": b'{"text": "', ".csv": b'text\n"', ".idx": header}
    suffix = Path(path.name.removesuffix(path.suffix) if path.suffix in PACKED else path.name).suffix
    with PACKED.get(path.suffix, lambda path: path.open("wb"))(path) as file:
        file.write(starts.get(suffix, b""))
        for _ in range(1024):
            file.write((b"\0" if suffix == ".idx" else b"x") * (1 << 20))
    return None


@pytest.mark.reliability
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dictionary.parquet", "over 100 times as much text"),
        ("rows.parquet", "fit in memory"),
        ("line.jsonl", "line 1 has 67108864 bytes or more"),
        ("line.jsonl.zst", "line 1 has 67108864 bytes or more"),
        ("line.csv.gz", "line 2 is in a row of 67108864 bytes or more"),
        ("a.txt.gz", "over 100 times as much text"),
        ("a.txt.zst", "over 100 times as much text"),
        ("a.idx.gz", "more than 47040000 bytes of data"),
    ],
)
def test_a_bomb_is_refused_within_three_gigabytes_and_twenty_seconds(tmp_path, name, message):
    plant(tmp_path / name)
    command = [sys.executable, "-c", BOMB, tmp_path / name, tmp_path]
    result = subprocess.run(
        command, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=900, preexec_fn=limited)
    shutil.rmtree(tmp_path)
    assert result.returncode == 2, result.stderr[-2000:]
    assert message in result.stderr.splitlines()[-1]
