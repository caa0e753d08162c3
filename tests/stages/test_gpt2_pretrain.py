"""Which run the stage gpt2_pretrain makes: by its arguments, or by the name that DVC gives it."""

import pytest

from study.stages.gpt2_pretrain import item
from variance_dynamics.base.errors import BadInput


def test_the_arguments_or_dvc_s_name_of_the_stage():
    assert item(["std_005", "1"], "") == ("std_005", 1)
    assert item([], "gpt2_pretrain@my-arm-12") == ("my-arm", 12)
    assert item(["gpt2", "0"], "gpt2_pretrain@std_1-2") == ("gpt2", 0)


@pytest.mark.parametrize(("arguments", "stage"), [
    ([], ""), ([], "gpt2_pretrain"), (["gpt2"], "gpt2_pretrain@gpt2-0"), (["gpt2", "x"], ""),
    (["gpt2", "-1"], ""), ([], "gpt2_pretrain@x;touch Y;#-0"), (["../x", "0"], ""), (["a", "0", "b"], "")])
def test_anything_else_is_refused(arguments, stage):
    with pytest.raises(BadInput, match="expected ARM and SEED"):
        item(arguments, stage)
