"""Values as words of a command (pure): flags, argv without a shell, and values that cannot be passed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.model import is_list
from utcp_bridge.placement.encoding import format_scalar
from utcp_bridge.placement.placeholders import OMITTED, Context, Syntax, Template, compile_template
from utcp_bridge.transports.cli.evaluators import is_code
from utcp_bridge.transports.cli.places import BEFORE_JSON

__all__ = [
    "ArgvTemplate",
    "argument_text",
    "as_word",
    "flags",
    "refuse_batch_values",
    "refuse_option",
    "refuse_powershell_values",
]

_SYNTAXES = Syntax.MUSTACHE | Syntax.DOLLAR | Syntax.UTCP_END
_WHOLE = re.compile(r"\s*\{\{\s*([A-Za-z_]\w*)\s*\}\}\s*")
_MAX_WORD_BYTES: Final = 131_000
"""Linux passes at most 131,072 bytes in one word or variable (MAX_ARG_STRLEN); the name of the variable counts."""
_MAX_BYTES_PER_CHARACTER: Final = 4
_FLAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NUMBER: Final = re.compile(r"-\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_BATCH: Final = re.compile(r"(?i)(?:.*[\\/])?(?:[^\\/]+\.(?:bat|cmd)|cmd(?:\.exe)?)[ .]*")
_CMDLET: Final = re.compile(
    r"(?i)(?:add|clear|compare|convert\w*|copy|format|get|join|move|new|out|pop|push|remove|rename|resolve|select|set"
    r"|split|test|write)-\w+|cat|cd|copy|cp|del|dir|echo|gc|gci|gi|ls|move|mv|ni|popd|pushd|rm|sl|sleep|sls|type|write"
)
"""Commands that PowerShell runs itself, if no program has the name."""
_BATCH_HOSTILE: Final = re.compile('[\x00-\x1f"%!^&|<>()]')


def argument_text(value: Any) -> str:
    """Return a value as text: text unchanged, numbers, booleans and the rest as JSON, null as nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else format_scalar(value)


def as_word(value: Any, name: str) -> str:
    """Return the text of a value, which is one word of a command or one variable of its environment.

    :raises InvalidArguments: the value of the argument `name` cannot be passed to a command.
    """
    text = argument_text(value)
    if "\0" in text:
        raise InvalidArguments(f"The argument {name!r} contains a NUL character, which cannot be passed to a command.")
    if len(text) * _MAX_BYTES_PER_CHARACTER > _MAX_WORD_BYTES:
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > _MAX_WORD_BYTES:
            raise InvalidArguments(
                f"The argument {name!r} has {size} bytes; a command accepts at most {_MAX_WORD_BYTES} in one word.",
                remedy="Shorten it, or let the template pass it with `stdin_template`.",
            )
    return text


def refuse_option(value: str, name: str, *, after_option: bool, place: str) -> None:
    """Refuse a value that a command would read as an option. After an option, a negative number is its value.

    :raises InvalidArguments: the value begins with `-`.
    """
    if value.startswith("-") and not (after_option and _NUMBER.fullmatch(value)):
        raise InvalidArguments(
            f"The command would read the value {value[:40]!r} as an option.",
            remedy=f'To allow it in {name!r}, write {place} in the template, or add "allow_leading_dash": ["{name}"].',
        )


def flags(
    arguments: Mapping[str, Any], *, declared: Iterable[str] | None = None, allowed: Iterable[str] = ()
) -> list[str]:
    """Return flags as UTCP 0.x writes them: `--name` if true, none if false, one for each list item, else a value.

    Only `declared` arguments become flags; with None, all do. Values of the `allowed` ones may begin with `-`.

    :raises InvalidArguments: an argument is not declared, its name cannot be an option, or its value would be one.
    """
    known = None if declared is None else frozenset(declared)
    words: list[str] = []
    for name, value in arguments.items():
        if known is not None and name not in known:
            raise InvalidArguments(  # without the name, which is the caller's text
                "An argument is not declared by the tool, so it does not become an option of the command.",
                remedy=f"The tool's arguments are: {', '.join(sorted(known)) or 'none'}.",
            )
        if not _FLAG.fullmatch(name):
            raise InvalidArguments(f"The name of the argument {name[:40]!r} cannot be an option of a command.")
        if value is None or value is False:
            continue
        if value is True:
            words.append(f"--{name}")
            continue
        for one in value if is_list(value) else [value]:
            text = as_word(one, name)
            if name not in allowed:
                refuse_option(text, name, after_option=True, place="the command as `command` with `args`")
            words += [f"--{name}", text]
    return words


class ArgvTemplate:
    """The `args` of a template: each element is one word, a list alone several words, a missing argument none."""

    def __init__(self, elements: Sequence[str], *, command: str = "", allowed: Iterable[str] = ()) -> None:
        """Compile the elements. Values of the `allowed` arguments may begin with `-`.

        :raises ConfigError: an element cannot be compiled, or mixes a value into the program of an interpreter.
        """
        self._elements = [(one, *_compiled(one)) for one in elements]
        self._allowed = frozenset(allowed)
        _refuse_mixed_code(command, [(one, template) for one, _, template in self._elements])

    def render(self, arguments: Mapping[str, Any]) -> list[str]:
        """Return the words for one call.

        :raises InvalidArguments: an argument is missing or cannot be passed, or the command would read it as an option.
        """
        words: list[str] = []
        guarded, option = False, False
        for element, before, template in self._elements:
            for word in _words(element, before, template, arguments):
                names = template.names
                if names and not (guarded or element.startswith("-") or self._allowed.issuperset(names)):
                    refuse_option(word, min(names), after_option=option, place='an element "--" before it')
                words.append(word)
            guarded = guarded or element == "--"
            option = element.startswith("-") and "=" not in element and not template.names
        return words


def _refuse_mixed_code(command: str, elements: Sequence[tuple[str, Template]]) -> None:
    """Refuse a value within a longer program text. A program that is one value as a whole is what the template means.

    :raises ConfigError: an element does that.
    """
    for position, (element, template) in enumerate(elements):
        before = [one for one, _ in elements[:position]]
        is_program = bool(before) and before[-1].startswith("-") and is_code([command, *before])
        if is_program and template.names and not _WHOLE.fullmatch(element):
            name = min(template.names)
            raise ConfigError(
                f"The argument {name!r} is within the program that {command!r} is given, which evaluates it.",
                remedy="Give it to the program as an element of its own, after the program.",
            )


def _compiled(element: str) -> tuple[str, Template]:
    """Return the text before a JSON text, such as `--data=`, and the template of the rest.

    :raises ConfigError: the element cannot be compiled.
    """
    before = BEFORE_JSON.match(element)
    if before is not None:
        rest = compile_template(element[before.end() :], syntaxes=_SYNTAXES, where="`args`")
        if rest.is_json_text and element[before.end() :].startswith("{"):
            return before[0], rest
    return "", compile_template(element, syntaxes=_SYNTAXES, where="`args`")


def _words(element: str, before: str, template: Template, arguments: Mapping[str, Any]) -> list[str]:
    whole = _WHOLE.fullmatch(element)
    name = min(template.names, default="")
    if whole and is_list(value := arguments.get(whole[1])):
        return [as_word(one, whole[1]) for one in value]
    rendered = template.render(arguments, context=Context.ARGV)
    return [] if rendered is OMITTED else [as_word(f"{before}{rendered}" if before else rendered, name)]


def refuse_batch_values(program: str, arguments: Mapping[str, Any]) -> None:
    """Refuse values for a batch file, which Windows passes through cmd.exe: it evaluates them within any quotation.

    :raises InvalidArguments: the program is a batch file or cmd.exe, and a value has a character of cmd.exe.
    """
    if not _BATCH.fullmatch(program):
        return
    for name, value in arguments.items():
        for one in value if is_list(value) else [value]:
            if one is not None and _BATCH_HOSTILE.search(argument_text(one)):
                raise InvalidArguments(
                    f"The argument {name!r} has a character that cmd.exe evaluates.",
                    remedy='Remove control characters and any of " % ! ^ & | < > ( ) from it.',
                )


def refuse_powershell_values(command: str, file: str | None, arguments: Mapping[str, Any]) -> None:
    """Refuse values that a program which PowerShell starts would not receive as one word.

    Windows PowerShell escapes neither a quotation mark within a word nor a backslash at its end. `file` is the program;
    None if it is not found.

    :raises InvalidArguments: a value has a character that would end its word, or that cmd.exe would evaluate.
    """
    if file is None and _CMDLET.fullmatch(command):
        return
    if file is None or _BATCH.fullmatch(file):
        refuse_batch_values("cmd", arguments)
    for name, value in arguments.items():
        text = argument_text(value)
        if '"' in text or text.endswith("\\"):
            raise InvalidArguments(
                f"The argument {name!r} has a quotation mark, or a backslash at its end: PowerShell would not pass"
                f" it to {command!r} as one word.",
                remedy="Remove it, or let the template use `command` with `args`.",
            )
