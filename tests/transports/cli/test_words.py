import json
from typing import Any

import pytest

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.transports.cli.words import (
    ArgvTemplate,
    argument_text,
    flags,
    refuse_batch_values,
    refuse_powershell_values,
)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"a": True, "b": False, "c": None}, ["--a"]),
        ({"l": ["x", 2]}, ["--l", "x", "--l", "2"]),
        ({"n": 1.5, "o": {"k": [1]}}, ["--n", "1.5", "--o", '{"k":[1]}']),
    ],
)
def test_arguments_become_flags(arguments: dict[str, Any], words: list[str]) -> None:
    assert flags(arguments) == words


def test_a_value_is_written_as_one_word() -> None:
    assert [argument_text(value) for value in (None, "a b", True, 3, [1])] == ["", "a b", "true", "3", "[1]"]


@pytest.mark.parametrize(
    ("elements", "arguments", "words"),
    [
        (["-X", "{{method}}", "{{url}}"], {"method": "GET", "url": "u"}, ["-X", "GET", "u"]),
        (["{{items}}"], {"items": []}, []),
        (["a={{x}}"], {"x": [1]}, ["a=[1]"]),
        (["${x}", "UTCP_ARG_y_UTCP_END"], {"x": "1", "y": "2"}, ["1", "2"]),
        (["--", "{{x}}"], {"x": "-1"}, ["--", "-1"]),
        (["-n", "{{x}}"], {"x": -1}, ["-n", "-1"]),
        (["-{{x}}"], {"x": "1"}, ["-1"]),
    ],
)
def test_each_element_is_one_word(elements: list[str], arguments: dict[str, Any], words: list[str]) -> None:
    assert ArgvTemplate(elements).render(arguments) == words


@pytest.mark.parametrize("elements", [["{{x}}"], ["-n", "1", "{{x}}"], ["--n=1", "{{x}}"]])
def test_a_value_that_looks_like_an_option_is_refused(elements: list[str]) -> None:
    with pytest.raises(InvalidArguments, match="would read the value '-rf' as an option"):
        ArgvTemplate(elements).render({"x": "-rf"})


def test_an_argument_within_a_word_is_required() -> None:
    with pytest.raises(InvalidArguments, match="'x'"):
        ArgvTemplate(["a={{x}}"]).render({})


@pytest.mark.parametrize("value", ["-rf", "-", "--", "-1x"])
@pytest.mark.parametrize("elements", [["{{x}}"], ["-v", "{{x}}"], ["--all", "{{x}}"]])
def test_text_that_begins_with_a_dash_is_refused_also_after_an_option(elements: list[str], value: str) -> None:
    with pytest.raises(InvalidArguments, match=r"allow_leading_dash"):
        ArgvTemplate(elements).render({"x": value})
    assert ArgvTemplate(elements, allowed=["x"]).render({"x": value})[-1] == value


@pytest.mark.parametrize(
    ("command", "elements"),
    [("sh", ["-c", "echo {{x}}"]), ("/bin/bash", ["-ec", "a ${x}"]), ("python3", ["-c", "print({{x}})"])],
)
def test_a_value_within_a_program_text_is_refused(command: str, elements: list[str]) -> None:
    with pytest.raises(ConfigError, match="'x' is within the program"):
        ArgvTemplate(elements, command=command)


def test_a_program_that_is_one_value_and_words_after_a_program_are_the_templates_own() -> None:
    assert ArgvTemplate(["-c", "{{x}}"], command="sh").render({"x": "ls"}) == ["-c", "ls"]
    assert ArgvTemplate(["-c", 'echo "$1"', "_", "a{{x}}"], command="sh").render({"x": "b"})[-1] == "ab"


def test_only_declared_arguments_become_flags() -> None:
    assert flags({"a": 1}, declared=["a", "b"]) == ["--a", "1"]
    with pytest.raises(InvalidArguments, match="not declared by the tool"):
        flags({"a": 1, "exec": "sh"}, declared=["a"])


@pytest.mark.parametrize("name", ["-rf", "a b", "a=b", "", "\u00e4", "a\n"])
def test_a_name_that_cannot_be_an_option_is_refused(name: str) -> None:
    with pytest.raises(InvalidArguments, match="cannot be an option"):
        flags({name: True})


@pytest.mark.parametrize("value", ["--config=x", ["a", "-x"], "-"])
def test_the_value_of_a_flag_does_not_become_an_option(value: Any) -> None:
    with pytest.raises(InvalidArguments, match="as an option"):
        flags({"file": value})
    assert flags({"file": value}, allowed=["file"])[0] == "--file"


def test_a_negative_number_is_the_value_of_a_flag() -> None:
    assert flags({"n": -1.5, "m": "-2"}) == ["--n", "-1.5", "--m", "-2"]


@pytest.mark.parametrize("value", ["a\0b", "x" * 131_001, "\U0001f600" * 40_000, ["ok", "\0"]])
def test_a_value_that_cannot_be_a_word_is_refused_with_its_argument(value: Any) -> None:
    for render in (ArgvTemplate(["{{long}}"]).render, flags):
        with pytest.raises(InvalidArguments, match="'long'"):
            render({"long": value})


@pytest.mark.parametrize("program", ["x.bat", "C:\\tools\\x.CMD", "a/b.cmd", "cmd", "cmd.exe", "x.bat."])
@pytest.mark.parametrize("value", ['"&calc', "%PATH%", "a|b", "^", "!x!", "a\nb", ["ok", "x>y"]])
def test_a_batch_file_receives_no_character_of_cmd(program: str, value: Any) -> None:
    with pytest.raises(InvalidArguments, match=r"'v' has a character that cmd\.exe evaluates"):
        refuse_batch_values(program, {"v": value})
    refuse_batch_values(program, {"v": "plain text-1", "n": 5, "none": None})
    refuse_batch_values("batch", {"v": value})


@pytest.mark.parametrize(
    ("command", "file", "value", "refused"),
    [
        ("Write-Output", None, 'a "b" & (c)\\', ""),
        ("git", "C:\\git\\git.exe", "a & (b) %c%", ""),
        ("git", "C:\\git\\git.exe", 'x" --upload-pack="y', "as one word"),
        ("git", "C:\\git\\git.exe", "C:\\a b\\", "as one word"),
        ("npm", "C:\\node\\npm.CMD", "a&calc", "cmd.exe evaluates"),
        ("npm", "C:\\node\\npm.CMD", "plain-1", ""),
        ("unknown", None, "a|b", "cmd.exe evaluates"),
        ("get-thing", "C:\\x\\get-thing.bat", "a|b", "cmd.exe evaluates"),
    ],
)
def test_a_program_that_powershell_starts_receives_each_value_as_one_word(
    command: str, file: str | None, value: str, refused: str
) -> None:
    if not refused:
        refuse_powershell_values(command, file, {"v": value, "none": None})
        return
    with pytest.raises(InvalidArguments, match=refused):
        refuse_powershell_values(command, file, {"v": value})


@pytest.mark.parametrize("before", ["", "-d", "--data=", "body:="])
@pytest.mark.parametrize("placeholder", ["{{q}}", "UTCP_ARG_q_UTCP_END"])
def test_a_word_that_is_json_stays_json_also_after_an_option(before: str, placeholder: str) -> None:
    element = before + '{"q": "' + placeholder + '", "n": ' + placeholder + "}"
    value = 'x"}, "admin": true, "\\'
    [*_, word] = ArgvTemplate(["--", element]).render({"q": value})
    assert word.startswith(before)
    assert json.loads(word.removeprefix(before)) == {"q": value, "n": value}
