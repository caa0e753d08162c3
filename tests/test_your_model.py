"""docs/your-model.md: its blocks run in order and print what it shows; as a script, this writes it there."""

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path

from imports import ROOT

PAGE = ROOT / "docs" / "your-model.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"[-+]?\d+\.\d+(e[-+]?\d+)?")


def printed(page):
    """What each block prints, all in one namespace, in a folder of their own."""
    outputs, names = [], {"__name__": "page"}
    for block in BLOCK.finditer(page):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(block[1], str(PAGE), "exec"), names)
        outputs.append("".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines()))
    return outputs


def words(text):
    """Without decimals, which differ between machines, and the width of columns."""
    return NUMBER.sub("0.0", text).split()


def test_what_is_shown_is_what_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    shown = [block[2] or "" for block in BLOCK.finditer(page)]
    assert [words(text) for text in printed(page)] == [words(text) for text in shown]
    assert (tmp_path / "run.parquet").exists()


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(Path(folder))
        outputs = iter(printed(text))
        PAGE.write_text(BLOCK.sub(
            lambda block: f"```python\n{block[1]}```\n"
            + (f"```text\n{next(outputs)}```\n" if block[2] is not None else next(outputs)), text),
            encoding="utf-8")
        os.chdir(ROOT)
