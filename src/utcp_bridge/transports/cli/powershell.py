"""Read a PowerShell script so far that the place of every placeholder is certain (pure).

PowerShell does not evaluate the value of a variable in a bare argument or in double quotes. All other places are
refused. In a statement that has any other syntax than words and quotation marks, no placeholder is filled.
"""

from __future__ import annotations

import re
from typing import Final

from utcp_bridge.transports.cli.places import PLACEHOLDER, StepReading, Word, WordPart, names

__all__ = ["read_powershell"]

_EVALUATORS: Final = names(
    "invoke-expression iex invoke-command icm powershell pwsh cmd start-process saps start add-type "
    "foreach-object foreach where-object where invoke-item ii start-job sajb new-object set-alias sal new-alias "
    "nal set-item si set-variable sv new-variable nv invoke-history ihy r export-alias import-module ipmo "
    "select-object select sort-object register-objectevent new-module nmo bash sh wsl python python3 perl ruby "
    "node ssh invoke-wmimethod import-alias set-psbreakpoint measure-command trace-command mshta wscript cscript "
    "rundll32 wmic schtasks "
)
_COMMAND: Final = re.compile(r"[A-Za-z][\w.:\\/-]*")
_ODD: Final = frozenset("{}()[]@&<>`,#%?=+*!~^")
_ENDS: Final = frozenset("\n;|")
_REMEDY: Final = "Give it as a word of a command, bare or in double quotes."


def read_powershell(text: str) -> StepReading:
    """Return the placeholders of a step that may be filled, and why the others may not."""
    found = StepReading()
    if not PLACEHOLDER.search(text):
        return found
    if "<#" in text or "@'" in text or '@"' in text or "--%" in text or "`" in text:
        found.refuse(0, len(text), "in a script with a block comment, a here-string, `--%` or a backtick", _REMEDY)
        return found
    position = 0
    while position < len(text):
        position = _statement(text, position, found)
    return found


def _statement(text: str, start: int, found: StepReading) -> int:
    """Read one statement; return where the next one begins."""
    words: list[Word] = []
    word: Word | None = None
    position = start
    quote: str = ""
    odd: str = ""
    closed_at = -1
    while position < len(text):
        char = text[position]
        if not quote and char in _ENDS:
            break
        if not quote and char.isspace():
            word = None
            position += 1
            continue
        if word is None:
            word = Word(position)
            words.append(word)
        match = PLACEHOLDER.match(text, position)
        if match is not None:
            word.parts.append(WordPart("argument", match[1], quote, position, match.end()))
            odd = odd or ("in single quotes" if quote == "'" else "")
            odd = odd or ("after a `$`" if text[position - 1 : position] == "$" else "")
            position = match.end()
            continue
        before, closed = quote, closed_at == position
        quote, odd = _character(text, position, quote, odd)
        if before and not quote:
            closed_at = position + 1
        is_mark = char in {"'", '"'} and before in {"", char}
        literal = char if not is_mark or (closed and quote == char == text[position - 1]) else ""  # `""` is one `"`
        word.parts.append(WordPart("text", literal, quote, position, position + 1))
        position += 1
    odd = odd or ("in quotation marks that are not closed" if quote else "")
    _judge(found, words, odd, (start, position))
    return position + 1


def _character(text: str, position: int, quote: str, odd: str) -> tuple[str, str]:
    """Return the quotation mark that is open after a character, and what is odd about the statement so far."""
    char = text[position]
    if char in "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u2013\u2014\u2015":
        return quote, odd or "in a statement with typographic marks, which PowerShell reads as its own"
    if quote:
        if quote == '"' and text.startswith("$(", position):
            odd = odd or "in a statement with `$( )`"
        return ("" if char == quote else quote), odd
    if char in {"'", '"'}:
        return char, odd
    if char in _ODD:
        odd = odd or f"in a statement with {char!r}"
    return quote, odd


def _judge(found: StepReading, words: list[Word], odd: str, span: tuple[int, int]) -> None:
    if not any(word.arguments for word in words):
        return
    command = words[0].literal or ""
    if not odd and (words[0].arguments or not _COMMAND.fullmatch(command)):
        odd = "in a statement that does not begin with a plain command"
    name = re.split(r"[\\/]", command.lower())[-1].removesuffix(".exe")
    if not odd and (name in _EVALUATORS or name.endswith((".bat", ".cmd"))):
        odd = f"in a word of `{command}`, which can evaluate it"
    if odd:
        found.refuse(*span, odd, _REMEDY)
        return
    found.commands.append((command, tuple(part.text for word in words for part in word.arguments)))
    guarded = True
    for position, word in enumerate(words[1:], 1):
        found.accept(word)
        if guarded:
            before = words[position - 1].literal or ""
            found.guard(word, after_option=before.startswith("-"))
        guarded = guarded and word.literal != "--"
