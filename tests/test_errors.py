"""What a person can put right ends in one line and a status; anything else keeps its traceback."""

import errno

import pytest
import torch

from variance_dynamics.errors import BadInput, one_line


@pytest.mark.parametrize(
    ("problem", "status", "told"),
    [
        (BadInput("lr is 0:\nexpected more"), 2, "error: lr is 0: expected more"),
        (OSError(errno.ENOSPC, "Disk full", "data/x"), 1, "error: data/x: Disk full"),
        (OSError("disk is gone"), 1, "error: disk is gone"),
        (MemoryError(), 1, "error: out of memory: expected more of it"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
    ],
)
def test_what_a_person_can_put_right_is_one_line(capsys, problem, status, told):
    @one_line
    def main():
        raise problem

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    assert capsys.readouterr().err == told + "\n"


def test_torch_s_own_way_of_running_out_of_memory(capsys):
    with pytest.raises(SystemExit) as ended:
        one_line(lambda: torch.empty(1 << 60, dtype=torch.uint8))()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: out of memory: ")


@pytest.mark.parametrize("problem", [RuntimeError("shapes"), TypeError("x"), ValueError("y")])
def test_a_mistake_in_the_code_keeps_its_traceback(problem):
    @one_line
    def main():
        raise problem

    with pytest.raises(type(problem)):
        main()
