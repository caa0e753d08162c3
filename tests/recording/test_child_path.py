"""A part's process finds our code first, and packages where its caller's PYTHONPATH has them."""

import os
import sys

from study.recording.working import _child


def test_a_part_keeps_the_path_that_its_caller_has(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/packages")
    write = "import os, pathlib; pathlib.Path('seen').write_text(os.environ['PYTHONPATH'])"
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    with _child([sys.executable, "-c", write], tmp_path, tmp_path, lock) as child:
        child.wait()
    os.close(lock)
    assert (tmp_path / "seen").read_text() == os.pathsep.join([str(tmp_path / "src"), "/packages"])
