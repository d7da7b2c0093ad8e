import pytest

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.transports.cli.scripts import CommandStep, UnsafePlaceholder, bash_script, powershell_script

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
    lines = script.text.splitlines()
    assert [line for line in lines if "__UTCP_ARG" in line or line == "Get-Location"] == [
        "Set-Location ${env:__UTCP_ARG_0}",
        'Write-Output "$CMD_0_OUTPUT ${env:__UTCP_ARG_0}"',
        "Get-Location",
    ]
    assert [line for line in lines if line.startswith("Write-Output $CMD")] == [
        "Write-Output $CMD_0_OUTPUT",
        "Write-Output $CMD_2_OUTPUT",
    ]
    assert lines.count("$__utcp_all = @(. {") == 3
    assert lines.count("if (@(0) -notcontains $__utcp_code)") == 3
    assert lines[-1] == "exit $__utcp_code"
    assert list(script.commands) == [("Set-Location", ("dir",)), ("Write-Output", ("dir",))]
    assert script.environment({"dir": "C:\\x"}) == {"__UTCP_ARG_0": "C:\\x"}


@pytest.mark.parametrize(
    ("command", "guarded"),
    [
        (f"sort {A}", True), (f"sort -- {A}", False),
        (f'sort "{A}"', True), (f"sort '{A}'", True), (f"sort --x={A}", False),
        (f"sort {B}{A}", True), (f'sort ""{A}', True), (f'sort "$x"{A}', True), (f"sort -- x | uniq {A}", True),
        (f"env -- sort {A}", True), (f"sudo -u me sort {A}", True), (f'x={A}; sort "$x"', True), (f"echo a {A}", False),
        (f"printf '%s' {A}", False), (f"cat <<< {A}", False), (f"for f in {A}; do :; done", True),
    ],
)  # fmt: skip
def test_a_value_that_a_command_could_read_as_an_option_is_refused(command: str, guarded: bool) -> None:
    script = bash_script([CommandStep(command=command)], [0])
    arguments = {"a": "--output=x", "b": ""}
    assert "--output=x" in script.environment(arguments, allowed=["a"]).values()
    if guarded:
        with pytest.raises(InvalidArguments, match=r"'--output=x' as an option.*allow_leading_dash"):
            script.environment(arguments)
    else:
        assert "--output=x" in script.environment(arguments).values()


def test_after_an_option_a_negative_number_is_a_value() -> None:
    script = bash_script([CommandStep(command=f"head -n {A}")], [0])
    assert script.environment({"a": -5}) == {"__UTCP_ARG_0": "-5"}
    with pytest.raises(InvalidArguments, match="as an option"):
        script.environment({"a": "-q"})


@pytest.mark.parametrize("value", ["a\0b", "x" * 140_000])
def test_a_value_that_cannot_be_passed_is_refused_with_its_argument(value: str) -> None:
    script = bash_script([CommandStep(command=f"echo x {A}")], [0])
    with pytest.raises(InvalidArguments, match="The argument 'a'"):
        script.environment({"a": value})


def test_the_refusal_names_step_argument_place_and_remedy() -> None:
    steps = [CommandStep(command="cd /"), CommandStep(command=f'echo "$(date -d {A})"')]
    with pytest.raises(UnsafePlaceholder) as caught:
        bash_script(steps, [0])
    remedy = 'Run that command as a step of its own, and read "$CMD_<n>_OUTPUT" after it.'
    assert str(caught.value) == f"In step 2, the argument 'a' is inside `$( )`. {remedy}"


@pytest.mark.parametrize("command", ["echo 'open", "echo $(", "if (", "cat <<E\nx", "case x", "coproc cat", "echo \\"])
def test_a_script_without_placeholders_is_not_read(command: str) -> None:
    assert command in bash_script([CommandStep(command=command)], [0]).text
    with pytest.raises(UnsafePlaceholder, match="'a'"):
        bash_script([CommandStep(command=f"echo {A}"), CommandStep(command=command)], [0])


def test_deep_nesting_is_refused_without_a_crash() -> None:
    for text in ("$(" * 5000, "((" * 5000, "${x:-" * 5000, "(" * 5000, "$((" * 5000):
        with pytest.raises(UnsafePlaceholder):
            bash_script([CommandStep(command=f"echo {A} {text}")], [0])


@pytest.mark.parametrize(
    "command",
    [f"Get-Item {A}", f'Write-Output "x {A} y"', f"git log -- {A}", f'Get-Item -Path {A}; Write-Output "{A}"',
     f"Get-Content {A} | Out-String"],
)  # fmt: skip
def test_powershell_words_are_filled(command: str) -> None:
    assert "${env:__UTCP_ARG_0}" in powershell_script([CommandStep(command=command)]).text


@pytest.mark.parametrize(
    "command",
    [f"Write-Output '{A}'", f"iex {A}", f'Invoke-Expression "{A}"', f"& {A}", f". {A}", A, f'"{A}"', f"$x = {A}",
     f'Write-Output "$({A})"', f"if ({A}) {{ 1 }}", f"x {{ {A} }}", f"x @({A})", f"x [{A}]", f"# {A}", f"<# {A} #>",
     f'x @"\n{A}\n"@', f"x @'\n{A}\n'@", f"x `{A}", f"x > {A}", f"x ${A}", f"cmd /c {A}", f"a.bat {A}",
     f"powershell -c {A}",
     f"x --% {A}", f"x {A} + 1", f"x \u201c{A}\u201d", f'x "{A}', f"Start-Process {A}", f"ForEach-Object {A}"],
)  # fmt: skip
def test_other_places_of_powershell_are_refused(command: str) -> None:
    with pytest.raises(UnsafePlaceholder, match="'a'"):
        powershell_script([CommandStep(command=command)])


def test_powershell_that_evaluates_an_output_is_refused() -> None:
    steps = [CommandStep(command=f"Write-Output {A}"), CommandStep(command="Invoke-Expression $CMD_0_OUTPUT")]
    with pytest.raises(UnsafePlaceholder, match="evaluates text"):
        powershell_script(steps)
