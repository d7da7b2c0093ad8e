"""Commands that evaluate what they are given, and which words of a command may be filled (pure).

Of most programs it is not known what they do with a word: each word is passed as it is, as with `args`. The commands
here are known to read words as a program, as the name of a variable, or as a command line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from utcp_bridge.transports.cli.places import Evaluation, StepReading, Word, names

__all__ = ["assign", "is_code", "judge"]

_SCRIPT_REMEDY: Final = "Put the code into a file, and give the value to it with `args`."
_BUILTINS: Final = names(
    "eval source . let read readarray mapfile unset trap alias shopt test [ getopts bind complete compgen hash "
    "enable wait fc history set"
)
"""Builtins of bash whose words are evaluated, are names of variables, or change how bash reads."""
_READS_NAMES: Final = frozenset({"read", "readarray", "mapfile", "getopts"})
_TAKES_NAMES: Final = _READS_NAMES | {"unset", "set"}
_REMEDIES: Final = {
    "printf": "Write a format, such as `printf '%s'`, before the placeholder.",
    "test": "Compare it in a program that receives it by `args`, or use `case`.",
    "[": "Compare it in a program that receives it by `args`, or use `case`.",
}
_DECLARES: Final = frozenset({"declare", "typeset", "local", "readonly", "export"})
_REMOTE: Final = names(
    "ssh rsh mosh sshpass su runuser watch parallel xargs at batch script flock tmux screen expect make eatmydata "
    "unbuffer entr gdb vim vi ex ed emacs dc"
)
"""Programs that pass words to a shell, or read programs from words or their input."""
_SHELLS: Final = names("sh bash dash ash zsh ksh mksh fish csh tcsh busybox pwsh powershell")
_RUNNERS: Final = re.compile(
    r"(?:python|pypy|perl|ruby|node|nodejs|deno|bun|php|lua|luajit|tclsh|Rscript|osascript|groovy|scala|guile|ghci?|psql"
    r"|mysql|sqlite3)[\d.]*"
)
_CODE_OPTION: Final = re.compile(r"-[A-Za-z]*[ceErpRF]|--(?:eval|print|execute|command|expression|run)(?:=.*)?|-c.*")
_FILTERS: Final[Mapping[str, tuple[str, Mapping[str, int]]]] = {
    "sed": ("-e -f --expression --file -s --expression= --file=", {"-l": 1}),
    "awk": ("-f -e --source --file", {"-v": 1, "-F": 1}),
    "jq": ("-f --from-file", {"--arg": 2, "--argjson": 2, "--slurpfile": 2, "--rawfile": 2, "--indent": 1}),
    "bc": ("-e --expression", {}),
    "yq": ("--from-file", {"-o": 1, "-p": 1}),
}
_FILTER_NAMES: Final = {"gsed": "sed", "gawk": "awk", "mawk": "awk", "nawk": "awk", "original-awk": "awk", "gojq": "jq"}
_WRAPPERS: Final[Mapping[str, tuple[str, int]]] = {
    "command": ("", 0),
    "builtin": ("", 0),
    "exec": ("-a", 0),
    "nohup": ("", 0),
    "setsid": ("", 0),
    "env": ("-u --unset -C --chdir", 0),
    "nice": ("-n --adjustment", 0),
    "ionice": ("-c -n --class --classdata", 0),
    "chronic": ("", 0),
    "timeout": ("-s -k --signal --kill-after", 1),
    "stdbuf": ("-i -o -e", 0),
    "sudo": ("-u -g -h -p -C -r -t -U --user --group", 0),
    "doas": ("-u -C", 0),
    "chrt": ("", 1),
    "taskset": ("", 1),
    "strace": ("-e -o -p -s", 0),
    "time": ("-f -o", 0),
    "busybox": ("", 0),
    "chroot": ("", 1),
}
"""Commands that run another one: their options with a value, and their operands before that command."""
_SHELL_NAMES: Final = re.compile(
    r"(?:BASH|COMP|HIST|LC_|LD_|DYLD_|PS\d|PYTHON|PERL|RUBY|NODE_|GIT_|EPOCH|SSH_|JAVA_|_JAVA|MALLOC_|GCONV|__UTCP)\w*"
    r"|CMD_\d+_OUTPUT|PATH|IFS|ENV|CDPATH|GLOBIGNORE|EXECIGNORE|FIGNORE|PROMPT_COMMAND|S?RANDOM|SECONDS|LINENO|OPT\w+"
    r"|TMOUT|SHELL|SHELLOPTS|EDITOR|VISUAL|PAGER|BROWSER|LESS\w*|MAKEFLAGS|GROUPS|FUNC\w+|DIRSTACK|TERM\w*|TMPDIR"
)
"""Variables that shells and programs obey: search paths, options, code, and integers that bash evaluates."""
_STARTS_COMMAND: Final = frozenset({"-exec", "-execdir", "-ok", "-okdir"})
_DECLARES_MORE: Final = re.compile(r"[-+]\w*[aAinulc]")
_ASSIGNED: Final = re.compile(r"([A-Za-z_]\w*)\+?=")
_SPLITS: Final = re.compile(r"-\w*S|--split-string")
_PIPE: Final = re.compile(r"(?<!\|)\|(?!\|)")
_NUMBERED: Final = re.compile(r"%[^A-Za-z%]*[n(]")
_UNSAFE_BARE: Final = frozenset("{}[")


def judge(found: StepReading, words: Sequence[Word], here: Sequence[Word], text: str, span: tuple[int, int]) -> None:
    """Note which placeholders of a simple command may be filled, and what the command evaluates."""
    if not words:
        for word in here:
            found.accept(word)
        return
    name, rest = _unwrapped(found, words)
    if name is None:
        for word in here:
            found.refuse(word.start, word.end, "in the input of a command that is not known")
        return
    command = _base_name(name)
    evaluated = _evaluates(command, rest)
    if evaluated:
        _note_evaluation(found, command, name, rest, (evaluated, text[name.start : span[1]]))
    evaluates_input = command in _REMOTE or _reads_program(command, rest)
    if evaluates_input and _PIPE.search(text, 0, span[0]):
        found.evaluations.append(Evaluation(span[0], span[1], text[: span[0]], f"in the input of `{command}`", True))
    for word in here:
        if evaluated or evaluates_input:
            found.refuse(word.start, word.end, f"in the input of `{command}`, which can evaluate it", _SCRIPT_REMEDY)
        else:
            found.accept(word)
    if not evaluated:
        _accept_words(found, command, rest)


def assign(found: StepReading, name: str, word: Word, start: int) -> None:
    """Note that a variable receives a word's value, which begins at `start` of the text."""
    found.assigned.append((name, word.raw[start - word.start :]))
    if _SHELL_NAMES.fullmatch(name):
        found.refuse(word.start, word.end, f"in an assignment to {name}, which programs obey")
        return
    value = Word(start, word.end, "", [part for part in word.parts if part.start >= start])
    found.accept(value)
    found.guard(value)


def _note_evaluation(found: StepReading, command: str, name: Word, rest: Sequence[Word], why: tuple[str, str]) -> None:
    """Note that a command evaluates its words. A literal name of a variable is not evaluated any further."""
    reason, text = why
    place = f"in a word of `{command}`"
    if not rest:
        return
    found.refuse(name.start, rest[-1].end, f"{place}, {reason}", _REMEDIES.get(command, _SCRIPT_REMEDY))
    if command in _READS_NAMES:
        found.read += [word.raw for word in rest] or ["REPLY"]
    elif command == "set":
        found.assigned.append(("@", text))
    if command in _TAKES_NAMES:
        text = " ".join(word.raw for word in rest if word.literal is None or "[" in word.raw)
    elif command in {"test", "["} and not any(word.literal in {"-v", "-R"} for word in rest):
        return
    found.evaluations.append(Evaluation(name.start, rest[-1].end, text, place))


def _base_name(word: Word) -> str:
    literal = word.literal
    return PurePosixPath(literal).name if literal and literal != "." else literal or ""


def _unwrapped(found: StepReading, words: Sequence[Word]) -> tuple[Word | None, Sequence[Word]]:
    """Return the word of the command that runs and the words after it, without those of `env`, `sudo` and others."""
    position, seen = 0, 0
    while position < len(words):
        word = words[position]
        name = word.literal
        if name is None or name.startswith("-") or not name:
            found.refuse(word.start, words[-1].end, "in the place of a command, or after one that is not a plain word")
            found.evaluations.append(Evaluation(word.start, word.end, word.raw, "in the place of a command"))
            return None, ()
        base = PurePosixPath(name).name if name != "." else name
        if base not in _WRAPPERS or seen > len(_WRAPPERS):
            return word, words[position + 1 :]
        seen += 1
        following = _after_wrapper(found, base, words, position + 1)
        if following is None:
            found.refuse(word.start, words[-1].end, f"in a word of `{base}` before the command that it runs")
            return None, ()
        if following >= len(words):
            return word, words[position + 1 :]
        position = following
    return None, ()


def _after_wrapper(found: StepReading, base: str, words: Sequence[Word], position: int) -> int | None:
    """Return the position of the command that a wrapper runs; None if that is not certain."""
    with_value, operands = _WRAPPERS[base]
    valued = with_value.split()
    while position < len(words):
        word = words[position]
        literal = word.literal
        assigned = _ASSIGNED.match(word.raw)
        if base == "env" and assigned is not None and not (literal or "").startswith("-"):
            assign(found, assigned[1], word, word.start + assigned.end())
        elif literal is None or (base == "env" and _SPLITS.match(literal)):
            return None
        elif literal.startswith("-"):
            position += literal in valued
        elif operands:
            operands -= 1
        else:
            break
        position += 1
    return position


def _evaluates(command: str, rest: Sequence[Word]) -> str:
    """Return why no word of this command may be filled; nothing if some may."""
    literals = [word.literal or "" for word in rest]
    everything = [command, *literals]
    reasons = {
        "which evaluates or changes it": command in _BUILTINS or command in _WRAPPERS,
        "whose options make bash evaluate it": command in _DECLARES and any(map(_DECLARES_MORE.match, literals)),
        "which starts another command line": command in _REMOTE,
        "which reads it as a format or as the name of a variable": command == "printf" and _is_odd_printf(rest),
        "which starts another command": command == "find" and not _STARTS_COMMAND.isdisjoint(literals),
        "which is given a program": any(is_code(everything[start:]) for start in range(len(everything))),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _is_odd_printf(rest: Sequence[Word]) -> bool:
    operands = [word for word in rest if word.literal != "--"]
    if not operands:
        return False
    form = operands[0].literal
    return form is None or form.startswith("-v") or _NUMBERED.search(form) is not None


def is_code(literals: Sequence[str]) -> bool:
    """Return whether a command is a shell or an interpreter whose program is one of its words."""
    command = PurePosixPath(literals[0]).name if literals else ""
    if command not in _SHELLS and not _RUNNERS.fullmatch(command):
        return False
    for word in literals[1:]:
        if not word.startswith(("-", "+")) or word == "--":
            return not word
        if _CODE_OPTION.fullmatch(word):
            return True
    return False


def _reads_program(command: str, rest: Sequence[Word]) -> bool:
    """Return whether the command reads a program from its input."""
    if command not in _SHELLS and not _RUNNERS.fullmatch(command):
        return False
    operands = [word for word in rest if not (word.literal or "x").startswith("-")]
    return not operands or any(word.literal in {"-s", "-", "/dev/stdin"} for word in rest)


def _accept_words(found: StepReading, command: str, rest: Sequence[Word]) -> None:
    """Accept the words that may be filled, and note those that could be read as options."""
    command = _FILTER_NAMES.get(command, command)
    program = _program_place(command, rest)
    guarded, operands = True, 0
    for position, word in enumerate(rest):
        literal = word.literal
        if command in _DECLARES and (match := _ASSIGNED.match(word.raw)):
            assign(found, match[1], word, word.start + match.end())
        elif position in program:
            found.refuse(word.start, word.end, f"in the program of `{command}`", _SCRIPT_REMEDY)
            found.evaluations.append(Evaluation(word.start, word.end, word.raw, f"in the program of `{command}`"))
        elif word.arguments and _UNSAFE_BARE & set(word.bare):
            found.refuse(word.start, word.end, "in a word with `{`, `}` or `[`", "Put these into quotation marks.")
        else:
            found.accept(word)
            if guarded:
                found.guard(word, after_option=_is_option(rest[position - 1]) if position else False)
        found.unquoted += [part for part in word.parts if part.kind == "variable" and not part.quote]
        operands += literal is None or not literal.startswith("-")
        ends = command in {"echo", "printf"} and operands > 0
        guarded = guarded and literal != "--" and not ends


def _is_option(word: Word) -> bool:
    literal = word.literal or ""
    return literal.startswith("-") and "=" not in literal


def _program_place(command: str, rest: Sequence[Word]) -> set[int]:
    """Return the positions of the words that are a program."""
    places: set[int] = set()
    if command in _SHELLS or _RUNNERS.fullmatch(command):
        for position, word in enumerate(rest):
            places.add(position)
            if not (word.literal or "x").startswith("-"):
                break
        return places
    if command not in _FILTERS:
        return places
    code, counts = _FILTERS[command]
    skip, given = 0, False
    for position, word in enumerate(rest):
        literal = word.literal
        if skip:
            skip -= 1
        elif literal is not None and literal in counts:
            skip = counts[literal]
        elif literal is not None and literal in code.split():
            places.add(position + 1)
            skip, given = 1, True
        elif (literal is None and word.raw.startswith("-")) or (literal or "").startswith("-"):
            places.add(position)
    return places if given else places | _first_operand(rest, counts)


def _first_operand(rest: Sequence[Word], counts: Mapping[str, int]) -> set[int]:
    skip = 0
    for position, word in enumerate(rest):
        literal = word.literal
        if skip:
            skip -= 1
        elif literal in counts:
            skip = counts[literal or ""]
        elif not (literal or "x").startswith("-"):
            return {position}
    return set()
