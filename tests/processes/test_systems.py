"""Words, programs and variables of each system, tried on any machine."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.processes.systems import (
    batch_line,
    find_program,
    has_folder,
    is_batch_file,
    join_command,
    merge_environment,
    split_command,
    started_words,
)

WORDS = st.lists(st.text(st.characters(blacklist_characters="\0\r\n", blacklist_categories=["Cs"]), max_size=12))
HOSTILE = st.lists(st.text('a"\\%&|<>^()! ', max_size=8))


def words_of_c(line: str) -> list[str]:
    """Return the words that the C runtime of Windows reads (since 2008)."""
    words: list[str] = []
    word: str | None = None
    position, quoted = 0, False
    while position < len(line):
        slashes = len(line[position:]) - len(line[position:].lstrip("\\"))
        if line[position + slashes : position + slashes + 1] == '"':
            word = (word or "") + "\\" * (slashes // 2)
            position += slashes + 1
            if slashes % 2 or (quoted and line[position : position + 1] == '"'):
                word += '"'
                position += not slashes % 2
            else:
                quoted = not quoted
        elif slashes:
            word, position = (word or "") + "\\" * slashes, position + slashes
        elif line[position] in " \t" and not quoted:
            words += [] if word is None else [word]
            word, position = None, position + 1
        else:
            word, position = (word or "") + line[position], position + 1
    return words + ([] if word is None else [word])


def after_cmd(line: str) -> str:
    """Return what cmd.exe passes on; fail if it would evaluate a part."""
    line = line.replace("%cd:~,%", "")  # the value of this variable is empty
    outside = re.sub('"[^"]*"', "", line)
    assert not re.search(r'[&|<>^()"]', outside), outside
    return line


@given(WORDS)
def test_the_words_of_a_line_are_those_that_were_joined(words: list[str]) -> None:
    assert split_command(join_command(words, windows=False), windows=False) == words
    assert words_of_c(join_command(words, windows=True)) == words


@given(WORDS | HOSTILE)
def test_a_batch_file_receives_its_words_and_cmd_evaluates_none(words: list[str]) -> None:
    assert words_of_c(after_cmd(batch_line("C:\\a b\\x.cmd", words))) == ["C:\\a b\\x.cmd", *words]


@given(WORDS)
def test_no_pair_of_percent_signs_surrounds_a_name(words: list[str]) -> None:
    line = batch_line("x.cmd", words)
    assert line.count("%%cd:~,%") * 3 == line.count("%")


@pytest.mark.parametrize("word", ["a\nb", "a\r"])
def test_a_batch_file_receives_no_line_break(word: str) -> None:
    with pytest.raises(OSError, match="line break"):
        batch_line("x.cmd", [word])


@pytest.mark.parametrize(
    ("line", "windows", "words"),
    [
        (r"C:\tools\x.exe --flag", True, [r"C:\tools\x.exe", "--flag"]),
        (r'"C:\Program Files\x.exe" -c "a b"', True, [r"C:\Program Files\x.exe", "-c", "a b"]),
        (r"\\server\share\x.exe 'a b'", True, [r"\\server\share\x.exe", "a b"]),
        (r"a\ b 'c d' #e", False, ["a b", "c d", "#e"]),
        ("", True, []),
    ],
)
def test_a_line_is_split_as_its_system_writes_paths(line: str, windows: bool, words: list[str]) -> None:
    assert split_command(line, windows=windows) == words


@pytest.mark.parametrize("windows", [False, True])
def test_an_open_quotation_mark_is_an_error(windows: bool) -> None:
    with pytest.raises(ValueError, match="quotation"):
        split_command('a "b', windows=windows)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("npx", r"C:\node\npx.cmd"),
        ("npx.cmd", r"C:\node\npx.cmd"),
        ("NODE.EXE", r"C:\node\NODE.EXE"),
        ("both", r"C:\node\both.exe"),
        ("script", None),
        ("here", None),
        (r".\here", r"C:\work\.\here.exe"),
        (r"C:\node\npx", r"C:\node\npx.cmd"),
        ("D:here", None),
        ("", None),
    ],
)
def test_a_program_of_windows_is_found_without_its_ending_and_not_in_the_current_folder(
    name: str, found: str | None
) -> None:
    files = {r"c:\node\npx.cmd", r"c:\node\node.exe", r"c:\node\both.cmd", r"c:\node\both.exe", r"c:\node\script.ps1",
             r"c:\work\.\here.exe", r"c:\work\here.exe"}  # fmt: skip
    place = find_program(
        name, r'.;;"C:\node";relative', Path(r"C:\work"), windows=True, is_file=lambda one: one.lower() in files
    )
    assert place == found


def test_a_program_of_other_systems_is_found_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("")
    (tmp_path / "tool").chmod(0o700)
    assert find_program("tool", str(tmp_path), Path("/"), windows=False) == str(tmp_path / "tool")
    assert find_program("./tool", None, tmp_path, windows=False) == str(tmp_path / "tool")
    assert find_program("tool", "/nowhere", tmp_path, windows=False) is None
    assert (has_folder("./tool", windows=False), has_folder("tool", windows=False)) == (True, False)


@pytest.mark.parametrize("name", [r"C:\a\x.CMD", "x.bat", "x.bat. .", "x.cmd "])
def test_batch_files_are_recognised(name: str) -> None:
    assert is_batch_file(name)
    assert not is_batch_file("x.exe")


def test_names_of_variables_have_no_case_on_windows() -> None:
    parts: list[dict[str, str]] = [{"PATH": "a", "X": "1"}, {"Path": "b", "x": "2"}]
    assert merge_environment(*parts, windows=True) == {"PATH": "b", "X": "2"}
    assert merge_environment(*parts, windows=False) == {"PATH": "a", "X": "1", "Path": "b", "x": "2"}


@pytest.mark.skipif(sys.platform != "win32", reason="other systems find programs themselves")
def test_a_missing_program_of_windows_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        started_words(["no-such-program"], {}, Path())
    assert started_words([sys.executable, "-V"], {}, Path()) == [sys.executable, "-V"]
