"""Tables, lines and JSON, with and without a terminal."""

import json

from utcp_bridge.cli.output import complain, heading, note, print_json, print_line, print_table, width

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen"


def test_a_column_is_as_wide_as_its_widest_cell(capsys):
    print_table(("A", "LONGER"), [("x", "1"), ("yyyy", "2")])
    assert capsys.readouterr().out == "A     LONGER\nx     1\nyyyy  2\n"


def test_wide_and_combining_characters_keep_columns_aligned(capsys):
    print_table(("NAME", "X"), [("日本", "1"), ("cafe\u0301", "2")])
    assert capsys.readouterr().out == "NAME  X\n日本  1\ncafe\u0301  2\n"


def test_without_a_terminal_nothing_is_wrapped_or_coloured(capsys):
    print_table(("A", "B"), [("x", LONG)])
    assert capsys.readouterr().out == f"A  B\nx  {LONG}\n"


def test_on_a_terminal_the_last_column_is_wrapped_under_itself(terminal):
    with terminal:
        print_table(("A", "B"), [("name", LONG)])
    lines = terminal.shown().splitlines()
    assert lines[0].endswith("B\x1b[0m")
    assert lines[1].startswith("name  one two")
    assert lines[2].startswith("      ")
    assert all(len(line) <= 60 for line in lines[1:])


def test_hidden_characters_and_line_breaks_do_not_reach_the_terminal(capsys):
    print_table(("A", "B"), [("a\x1b[31mb", "c\nd\u202ee")])
    assert capsys.readouterr().out == "A   B\nab  c de\n"


def test_an_error_is_one_line_on_stderr(capsys):
    complain("It\nfailed.\x1b[2J")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "utcp-bridge: It failed.\n"


def test_an_error_is_coloured_on_a_terminal(terminal):
    with terminal:
        complain("It failed.")
    assert terminal.shown() == "\x1b[31m\x1b[1mutcp-bridge:\x1b[0m It failed.\n"


def test_notes_go_to_stderr_and_lines_to_stdout(capsys):
    note("by the way")
    print_line("a result")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("a result\n", "by the way\n")


def test_json_is_readable_or_compact(capsys):
    print_json({"a": [1, {1: "é"}]})
    print_json({"a": 1}, compact=True)
    readable, compact = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert json.loads(readable) == {"a": [1, {"1": "é"}]}
    assert compact == '{"a":1}'


def test_width_counts_columns():
    assert [width(text) for text in ("abc", "日", "e\u0301", "")] == [3, 2, 1, 0]


def test_a_heading_is_bold():
    assert heading("x") == "\x1b[1mx\x1b[0m"
