"""Words, programs and variables of each system, tried on any machine."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
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
    own_folder,
    settings_folder,
    split_command,
    started_words,
)

WORDS = st.lists(st.text(st.characters(blacklist_characters="\0\r\n", blacklist_categories=["Cs"]), max_size=12))
HOSTILE = st.lists(st.text('a"\\%&|<>^()! ', max_size=8))
PARTS = st.lists(st.sampled_from(["%", "%", "!", "a", "PATH", "path", ":", "=", "~1", " ", "cd", '"']), max_size=8)
PERCENT = st.lists(PARTS.map("".join), max_size=4)
NAMES = st.dictionaries(st.sampled_from(["a", "A:", "PATHa", "path", "x"]), st.just("value"))


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


def replaced(line: str, environment: Mapping[str, str], sign: str = "%") -> str:
    """Return a command line after cmd.exe has replaced its variables: an unknown name stays, and its first sign too."""
    known = {"CD", "RANDOM", "PATH"} | {name.upper() for name in environment}
    done, position = "", 0
    while position < len(line):
        if line[position] == sign:
            end = position + 1
            while end < len(line) and line[end] not in {sign, ":"}:
                end += 1
            if line[end : end + 2] == f":{sign}":  # the colon is a part of the name
                end += 1
            last = line.find(sign, end)
            if last >= 0 and line[position + 1 : end].upper() in known:
                done, position = done + "value", last + 1
                continue
        done, position = done + line[position], position + 1
    return done


def after_cmd(line: str) -> str:
    """Return what cmd.exe passes on; fail if it would evaluate a part."""
    assert replaced(replaced(line, {}), {}, "!") == line
    outside = re.sub('"[^"]*"', "", line)
    assert not re.search(r'[&|<>^()"]', outside), outside
    return line


@given(WORDS)
def test_the_words_of_a_line_are_those_that_were_joined(words: list[str]) -> None:
    assert split_command(join_command(words, windows=False), windows=False) == words
    assert words_of_c(join_command(words, windows=True)) == words


@given(WORDS | HOSTILE)
def test_a_batch_file_receives_its_words_and_cmd_evaluates_none(words: list[str]) -> None:
    assert words_of_c(after_cmd(batch_line("C:\\a b\\x.cmd", words, {}))) == ["C:\\a b\\x.cmd", *words]


@given(PERCENT, NAMES)
def test_a_line_is_refused_if_cmd_would_replace_a_variable_in_it(words: list[str], environment: dict[str, str]) -> None:
    plain = " ".join(f'"{word.replace(chr(34), chr(34) * 2)}"' for word in ("x.cmd", *words))
    if {replaced(plain, environment), replaced(plain, environment, "!")} == {plain}:
        assert batch_line("x.cmd", words, environment) == plain
    else:
        with pytest.raises(OSError, match=r"cmd\.exe would replace"):
            batch_line("x.cmd", words, environment)


@pytest.mark.parametrize("word", ["%PATH%", "a%20b%path:~0,1%", "%=ExitCode%", "%=c:%", "%token%", "%TOKEN:x", "!CD!"])
def test_a_variable_in_a_word_of_a_batch_file_is_named(word: str) -> None:
    with pytest.raises(OSError, match=r"cmd\.exe would replace ([%!])=?\w+\1 in its arguments") as caught:
        batch_line("x.cmd", [word, "50%"], {"Token": "s3cret"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("word", ["100%", "a%20b%20c", "%NONE%", "%%", "!important!", "%PATHS%", "?a=%=%", "%PATH:%"])
def test_other_percent_signs_stay_as_they_are(word: str) -> None:
    assert batch_line("x.cmd", [word], {"A": "1"}) == f'"x.cmd" "{word}"'


@pytest.mark.parametrize("word", ["a\nb", "a\r"])
def test_a_batch_file_receives_no_line_break(word: str) -> None:
    with pytest.raises(OSError, match="line break"):
        batch_line("x.cmd", [word], {})


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


READ = {"win32": "APPDATA", "linux": "XDG_CONFIG_HOME"}
WHOLE = {"win32": r"([A-Z]:[\\/]|\\\\[a-z]{1,3}\\[a-z]{1,3}\\)[a-z ]{0,5}", "linux": "/[a-z/ ]{0,5}"}
PLACES = {"win32": "AppData/Roaming", "darwin": "Library/Application Support", "linux": ".config"}


@given(st.data(), st.sampled_from(sorted(PLACES)))
def test_settings_are_in_the_folder_of_the_system_and_a_variable_counts_if_it_is_a_whole_path(
    data: st.DataObject, system: str
) -> None:
    home, usual = Path("/h/ada"), Path("/h/ada") / PLACES[system]
    part = data.draw(st.sampled_from(["", "x", "C:", "C:x", "~/a", "\\x", "a/b", "a\\b"]))
    assert settings_folder(home, system, dict.fromkeys(READ.values(), part)) == usual
    for other, pattern in WHOLE.items():
        whole = data.draw(st.from_regex(pattern, fullmatch=True))
        expected = Path(whole) if other == system else usual
        assert settings_folder(home, system, {READ[other]: whole}) == expected


def test_an_unknown_system_counts_as_linux() -> None:
    assert settings_folder(Path("/h/ada"), "freebsd14") == Path("/h/ada/.config")


def test_variables_of_this_process_count_for_its_user_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in READ.values():
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    named = sys.platform in READ
    assert (settings_folder(tmp_path) == tmp_path / "elsewhere") == named
    assert own_folder() == settings_folder(tmp_path) / "utcp-bridge"
    assert settings_folder(tmp_path / "other").is_relative_to(tmp_path / "other")


def test_tests_keep_nothing_in_the_home_folder_of_their_user() -> None:
    program = "from utcp_bridge.processes.systems import own_folder; print(own_folder())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(own_folder())
    assert own_folder().is_relative_to(tempfile.gettempdir())
