"""The sources of the corpus's text: docstrings, files or the hub, as chunks of UTF-8."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import BinaryIO

from study.data import docstrings, files, hub, plain, tables
from study.data.params import CorpusParams
from variance_dynamics.base.errors import BadInput
from variance_dynamics.base.progress import progress

Chunks = Iterator[bytes | None]
"""The bytes of all documents in order, in pieces that fit in memory. None stands after each document."""
HUB_ROWS = 256
"""Rows of a data set on the hub that are in memory at once."""
MOST_LINES = 20
"""The most files of which each is said by itself how many documents it has."""


def from_docs(params: CorpusParams) -> Chunks:
    """The prose of the packages; each module is a document."""
    return tables.documents("corpus.packages", docstrings.documents(params.packages), params)


def from_hub(params: CorpusParams) -> Chunks:
    """The rows of a text data set on the hub, which is streamed; each row is a document."""
    source, where = params.hub, "corpus.hub"
    chosen = {"name": source.name, "split": source.split, "revision": source.revision}
    rows = hub.load(where, source.path, {**chosen, "streaming": True})
    known = (rows.info.splits or {}).get(source.split)
    batches = rows.with_format("arrow").iter(batch_size=HUB_ROWS)
    texts = tables.column_rows(where, params.text_column, batches, "readable rows")
    bar = progress(texts, desc="download", unit=" rows", total=known.num_examples if known else None)
    return tables.documents(where, iter(bar), params)


def from_files(params: CorpusParams) -> Chunks:
    """The documents of each file: the rows of .jsonl, .csv and .parquet, the text between separators in .txt.

    Prints how many documents came of each file, and what matches a pattern and is not read.
    """
    chosen, others = files.entries(params.files, KINDS)
    for path in others:
        print(f"{path}: not read: no file (a pattern with /** reads folders, but no links to folders)")
    sizes, tallies = {path: path.stat().st_size for path in chosen}, []
    with progress(desc="read", unit="B", unit_scale=True, total=sum(sizes.values())) as bar:
        done = 0
        for path in chosen:
            tallies.append(tally := Tally(path))
            with path.open("rb") as file:
                for chunk in tally.counted(_bounded(path, sizes[path], _chunks(path, file, params))):
                    yield chunk
                    bar.update(done + file.tell() - bar.n)
            done += sizes[path]
            bar.update(done - bar.n)
    print("\n".join(summary(tallies)))


def _chunks(path: Path, file: BinaryIO, params: CorpusParams) -> Chunks:
    with files.unpacked(path, file) as content:
        yield from READERS[_kind(path)](path, content, params)


def _bounded(path: Path, size: int, chunks: Chunks) -> Chunks:
    """The same chunks. Raises BadInput when they are more than MOST_TEXT and FREE allow for that size."""
    left = tables.FREE + tables.MOST_TEXT * size
    for chunk in chunks:
        left -= len(chunk or b"")
        if left < 0:
            most = f"{tables.MOST_TEXT} times as much text as its {size} bytes"
            raise BadInput(f"{path}: over {most}: expected less")
        yield chunk


@dataclass
class Tally:
    """How many documents and bytes of text came of a file; blank documents are no part of the corpus."""

    path: Path
    documents: int = 0
    blank: int = 0
    bytes: int = 0

    def counted(self, chunks: Chunks) -> Chunks:
        """The same chunks, which are counted as they pass."""
        blank = True
        for chunk in chunks:
            yield chunk
            if chunk is None:
                self.documents += not blank
                self.blank += blank
                blank = True
            else:
                self.bytes += len(chunk)
                blank = blank and not chunk.strip()

    def __str__(self) -> str:
        left_out = f" ({self.blank} blank left out)" if self.blank else ""
        documents = "1 document" if self.documents == 1 else f"{self.documents} documents"
        return f"{self.path}: {documents}, {self.bytes} bytes{left_out}"


def summary(tallies: list[Tally]) -> list[str]:
    """A line for each of the largest files, and one for all the others."""
    largest = sorted(tallies, key=lambda tally: -tally.bytes)[:MOST_LINES]
    lines = [str(tally) for tally in tallies if tally in largest]
    rest = [tally for tally in tallies if tally not in largest]
    if rest:
        documents, size = (sum(getattr(tally, name) for tally in rest) for name in ("documents", "bytes"))
        fewest, most = (pick(tally.documents for tally in rest) for pick in (min, max))
        lines.append(f"{len(rest)} more files: {documents} documents ({fewest} to {most} each), {size} bytes")
    return lines


SOURCES: dict[str, Callable[[CorpusParams], Chunks]] = {
    "docs": from_docs,
    "files": from_files,
    "hub": from_hub,
}


def _text(path: Path, file: BinaryIO, params: CorpusParams) -> Chunks:
    """A text file byte for byte. The library `datasets` would turn \\r\\n into \\n."""
    anywhere = params.separator_place == "anywhere"
    return plain.documents(path, file, params.document_separator.encode(), anywhere)


def _json(path: Path, file: BinaryIO, params: CorpusParams) -> Chunks:
    return tables.documents(str(path), tables.json_rows(path, file, params.text_column), params)


def _csv(path: Path, file: BinaryIO, params: CorpusParams) -> Chunks:
    return tables.documents(str(path), tables.csv_rows(path, file, params.text_column), params)


def _parquet(path: Path, file: BinaryIO, params: CorpusParams) -> Chunks:
    return tables.documents(str(path), tables.parquet_rows(path, params.text_column), params)


READERS: dict[str, Callable[[Path, BinaryIO, CorpusParams], Chunks]] = {
    ".txt": _text,
    ".jsonl": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
KINDS = [kind + packing for kind, packing in product(READERS, ("", *files.PACKINGS))
         if kind != ".parquet" or not packing]  # Parquet is packed inside
"""The endings of the names of files that are read."""


def paths(patterns: list[str]) -> list[Path]:
    """The files that match, each once, sorted. Raises BadInput where nothing or another kind matches."""
    return files.entries(patterns, KINDS)[0]


def _kind(path: Path) -> str:
    name = path.name.removesuffix(path.suffix) if path.suffix in files.PACKINGS else path.name
    return Path(name).suffix
