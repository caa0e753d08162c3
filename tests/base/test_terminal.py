"""Tables in plain characters."""

from variance_dynamics.base.terminal import aligned


def test_words_to_the_left_and_numbers_to_the_right():
    table = [["layer", "role", "std"], ["1", "attn_out", "0.02"], ["12", "q", ""]]
    assert aligned(table, words=("role",)) == ["layer  role       std",
                                               "    1  attn_out  0.02",
                                               "   12  q"]
