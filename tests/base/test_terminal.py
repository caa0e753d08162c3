"""Tables in plain characters."""

from variance_dynamics.base.terminal import aligned, printable


def test_words_to_the_left_and_numbers_to_the_right():
    table = [["layer", "role", "std"], ["1", "attn_out", "0.02"], ["12", "q", ""]]
    assert aligned(table, words=("role",)) == ["layer  role       std",
                                               "    1  attn_out  0.02",
                                               "   12  q"]


def test_names_cannot_speak_to_the_terminal():
    assert printable("plain – ünïcode 𝔘") == "plain – ünïcode 𝔘"
    assert printable("a\x1b[2J\n\r\tb\x9b1\u202ec\ud800") == "a\\x1b[2J\\n\\r\\tb\\x9b1\\u202ec\\ud800"
    (head, line) = aligned([["role", "std"], ["q\x1b[31m\n", "1"]], words=("role",))
    assert line == "q\\x1b[31m\\n    1" and head == "role         std"
