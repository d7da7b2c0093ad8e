"""Command lines from templates and arguments (pure): flags, argv without a shell, and scripts.

In scripts a value never becomes text: a placeholder becomes a reference to an environment variable with the value,
quoted for its position.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.model import is_list
from utcp_bridge.placement.encoding import format_scalar
from utcp_bridge.placement.placeholders import OMITTED, Context, Syntax, Template, compile_template

__all__ = ["ArgvTemplate", "CommandStep", "Script", "argument_text", "bash_script", "flags", "powershell_script"]

_PLACEHOLDER = re.compile(r"UTCP_ARG_(\w{1,128}?)_UTCP_END")
_SYNTAXES = Syntax.MUSTACHE | Syntax.DOLLAR | Syntax.UTCP_END
_WHOLE = re.compile(r"\s*\{\{\s*([A-Za-z_]\w*)\s*\}\}\s*")


class CommandStep(BaseModel):
    """One of UTCP 1.1's `commands`. By default `append_to_final_output` is true for the last step only."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    command: str = Field(repr=False)
    append_to_final_output: bool | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the environment variables for its arguments: variable → argument."""

    text: str = field(repr=False)
    variables: Mapping[str, str] = field(repr=False)

    def environment(self, arguments: Mapping[str, Any]) -> dict[str, str]:
        """Return the values of the variables. A missing argument is empty."""
        return {name: argument_text(arguments.get(argument)) for name, argument in self.variables.items()}


def argument_text(value: Any) -> str:
    """Return a value as one word: text unchanged, numbers, booleans and the rest as JSON, null as nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else format_scalar(value)


def flags(arguments: Mapping[str, Any]) -> list[str]:
    """Return flags as UTCP 0.x writes them: `--name` if true, none if false, one for each list item, else a value."""
    words: list[str] = []
    for name, value in arguments.items():
        if value is None or value is False:
            continue
        if value is True:
            words.append(f"--{name}")
            continue
        for one in value if is_list(value) else [value]:
            words += [f"--{name}", argument_text(one)]
    return words


class ArgvTemplate:
    """The `args` of a template: each element is one word, a list alone several words, a missing argument none."""

    def __init__(self, elements: Sequence[str]) -> None:
        self._elements = [(one, compile_template(one, syntaxes=_SYNTAXES, where="`args`")) for one in elements]

    def render(self, arguments: Mapping[str, Any]) -> list[str]:
        """Return the words for one call.

        :raises InvalidArguments: an argument is missing, or the command would read it as an option.
        """
        words: list[str] = []
        guarded, option = False, False
        for element, template in self._elements:
            for word in _words(element, template, arguments):
                if template.names and word.startswith("-") and not element.startswith("-") and not (guarded or option):
                    raise InvalidArguments(
                        f"The command would read the value {word[:40]!r} as an option.",
                        remedy='To allow it, add an element "--" before it in `args`.',
                    )
                words.append(word)
            guarded = guarded or element == "--"
            option = element.startswith("-") and "=" not in element and not template.names
        return words


def _words(element: str, template: Template, arguments: Mapping[str, Any]) -> list[str]:
    whole = _WHOLE.fullmatch(element)
    if whole and is_list(value := arguments.get(whole[1])):
        return [argument_text(one) for one in value]
    rendered = template.render(arguments, context=Context.ARGV)
    return [] if rendered is OMITTED else [argument_text(rendered)]


def bash_script(steps: Sequence[CommandStep], ok_exit_codes: Iterable[int]) -> Script:
    """Return the steps as one bash script, in which `cd` and variables persist from step to step.

    The output of each step, with its errors, is `$CMD_<n>_OUTPUT` in the steps after it. The first step that fails ends
    the script with its exit code, and its output goes to stderr.
    """
    names = _ScriptNames()
    codes = "|".join(str(code) for code in ok_exit_codes) or "0"
    lines = ["__utcp_file=$(mktemp) || exit 70", "trap 'rm -f \"$__utcp_file\"' EXIT"]
    for number, step in enumerate(steps):
        lines += [
            "{",
            _with_references(step.command, names),
            '} >"$__utcp_file" 2>&1',
            "__utcp_code=$?",
            f'CMD_{number}_OUTPUT=$(cat "$__utcp_file")',
            f'case $__utcp_code in {codes}) ;; *) printf "%s\\n" "$CMD_{number}_OUTPUT" >&2; exit $__utcp_code ;; esac',
        ]
    lines += [f'printf "%s\\n" "$CMD_{number}_OUTPUT"' for number in _shown(steps)]
    return Script("\n".join(lines) + "\nexit $__utcp_code\n", names.variables)


def powershell_script(steps: Sequence[CommandStep]) -> Script:
    """Return the same for Windows. Dot-sourced blocks keep the location and the variables of earlier steps."""
    names = _ScriptNames()
    lines: list[str] = ["$ErrorActionPreference = 'Stop'"]
    for number, step in enumerate(steps):
        command = _PLACEHOLDER.sub(lambda match: f"$env:{names.variable(match[1])}", step.command)
        lines.append(f"$CMD_{number}_OUTPUT = (. {{ {command} }} 2>&1 | Out-String).TrimEnd()")
    lines += [f"Write-Output $CMD_{number}_OUTPUT" for number in _shown(steps)]
    return Script("\n".join(lines) + "\n", names.variables)


def _shown(steps: Sequence[CommandStep]) -> list[int]:
    last = len(steps) - 1
    return [
        number
        for number, step in enumerate(steps)
        if (number == last if step.append_to_final_output is None else step.append_to_final_output)
    ]


class _ScriptNames:
    """Names of environment variables for arguments, whose own names may have any characters."""

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}

    def variable(self, argument: str) -> str:
        for name, known in self.variables.items():
            if known == argument:
                return name
        name = f"__UTCP_ARG_{len(self.variables)}"
        self.variables[name] = argument
        return name


def _with_references(command: str, names: _ScriptNames) -> str:
    """Replace placeholders by references, quoted for their position: bare, in double quotes or in single quotes."""
    written: list[str] = []
    position, quote = 0, ""
    for match in _PLACEHOLDER.finditer(command):
        before = command[position : match.start()]
        quote = _quote_after(before, quote)
        reference = f"${{{names.variable(match[1])}}}"
        bare = f'"{reference}"'
        written += [before, {"": bare, '"': reference, "'": f"'{bare}'"}[quote]]
        position = match.end()
    return "".join(written) + command[position:]


def _quote_after(text: str, quote: str) -> str:
    """Return the quotation mark that is open after `text`, if `quote` was open before it."""
    escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
    return quote
