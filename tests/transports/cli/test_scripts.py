import pytest

from utcp_bridge.transports.cli.scripts import CommandStep, bash_script, powershell_script

A, B = "UTCP_ARG_a_UTCP_END", "UTCP_ARG_b_UTCP_END"


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("echo UTCP_ARG_a_UTCP_END", 'echo "${__UTCP_ARG_0}"'),
        ('echo "x UTCP_ARG_a_UTCP_END y"', 'echo "x ${__UTCP_ARG_0} y"'),
        ("echo 'x UTCP_ARG_a_UTCP_END y'", "echo 'x '\"${__UTCP_ARG_0}\"' y'"),
        ('echo \\" UTCP_ARG_a_UTCP_END', 'echo \\" "${__UTCP_ARG_0}"'),
        (f"ls {A} {B} {A}", 'ls "${__UTCP_ARG_0}" "${__UTCP_ARG_1}" "${__UTCP_ARG_0}"'),
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
        "$CMD_0_OUTPUT = (. { Set-Location ${env:__UTCP_ARG_0} } 2>&1 | Out-String).TrimEnd()",
        '$CMD_1_OUTPUT = (. { Write-Output "$CMD_0_OUTPUT ${env:__UTCP_ARG_0}" } 2>&1 | Out-String).TrimEnd()',
        "$CMD_2_OUTPUT = (. { Get-Location } 2>&1 | Out-String).TrimEnd()",
        "Write-Output $CMD_0_OUTPUT",
        "Write-Output $CMD_2_OUTPUT",
    ]
    assert script.environment({"dir": "C:\\x"}) == {"__UTCP_ARG_0": "C:\\x"}
