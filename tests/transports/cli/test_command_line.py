from typing import Any

import pytest

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.transports.cli.command_line import (
    ArgvTemplate,
    CommandStep,
    argument_text,
    bash_script,
    flags,
    powershell_script,
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


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("echo UTCP_ARG_a_UTCP_END", 'echo "${__UTCP_ARG_0}"'),
        ('echo "x UTCP_ARG_a_UTCP_END y"', 'echo "x ${__UTCP_ARG_0} y"'),
        ("echo 'x UTCP_ARG_a_UTCP_END y'", "echo 'x '\"${__UTCP_ARG_0}\"' y'"),
        ('echo \\" UTCP_ARG_a_UTCP_END', 'echo \\" "${__UTCP_ARG_0}"'),
        ("UTCP_ARG_a_UTCP_END UTCP_ARG_b_UTCP_END UTCP_ARG_a_UTCP_END",
         '"${__UTCP_ARG_0}" "${__UTCP_ARG_1}" "${__UTCP_ARG_0}"'),
    ],
)  # fmt: skip
def test_placeholders_are_quoted_for_their_position(command: str, written: str) -> None:
    script = bash_script([CommandStep(command=command)], [0])
    assert written in script.text
    assert script.environment({"a": [1], "b": "x"})["__UTCP_ARG_0"] == "[1]"


def test_missing_arguments_are_empty_in_the_environment() -> None:
    script = bash_script([CommandStep(command="echo UTCP_ARG_a_UTCP_END")], [])
    assert script.environment({}) == {"__UTCP_ARG_0": ""}
    assert "in 0) ;;" in script.text


def test_the_windows_form_keeps_state_and_reads_values_from_the_environment() -> None:
    steps = [
        CommandStep(command="Set-Location UTCP_ARG_dir_UTCP_END", append_to_final_output=True),
        CommandStep(command='Write-Output "$CMD_0_OUTPUT UTCP_ARG_dir_UTCP_END"', append_to_final_output=False),
        CommandStep(command="Get-Location"),
    ]
    script = powershell_script(steps)
    assert script.text.splitlines() == [
        "$ErrorActionPreference = 'Stop'",
        "$CMD_0_OUTPUT = (. { Set-Location $env:__UTCP_ARG_0 } 2>&1 | Out-String).TrimEnd()",
        '$CMD_1_OUTPUT = (. { Write-Output "$CMD_0_OUTPUT $env:__UTCP_ARG_0" } 2>&1 | Out-String).TrimEnd()',
        "$CMD_2_OUTPUT = (. { Get-Location } 2>&1 | Out-String).TrimEnd()",
        "Write-Output $CMD_0_OUTPUT",
        "Write-Output $CMD_2_OUTPUT",
    ]
    assert script.environment({"dir": "C:\\x"}) == {"__UTCP_ARG_0": "C:\\x"}
