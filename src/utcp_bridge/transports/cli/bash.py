"""Read a bash script so far that the place of every placeholder is certain (pure).

The reader follows bash's own tokens: words and their quotation marks, expansions, redirections, compound commands. It
notes which placeholders are in plain words of commands, and where bash evaluates text. A script that it cannot follow
raises `Unreadable`; what it does not note as safe is refused.
"""

from __future__ import annotations

import re
from typing import Final

from utcp_bridge.transports.cli.evaluators import assign, judge
from utcp_bridge.transports.cli.places import PLACEHOLDER, Evaluation, StepReading, Word, WordPart

__all__ = ["Unreadable", "read_bash"]

_BLANKS: Final = " \t"
_ENDS: Final = frozenset(" \t\n;&|()<>")
_PREFIXES: Final = frozenset({"if", "then", "elif", "else", "while", "until", "do", "{", "!", "time"})
_CLOSERS: Final = frozenset({"fi", "done", "}"})
_SPECIAL: Final = frozenset("@*#?-$!0123456789")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\+?=")
_SUBSCRIPT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\[")
_REDIRECTION: Final = re.compile(r"(?:\d+|\{[A-Za-z_]\w*\})?(<<<|<<-|<<|<>|<&|<(?!\()|>>|>\||>&|>(?!\()|&>>|&>)")
_FUNCTION: Final = re.compile(r"[ \t]*\([ \t]*\)")
_PLAIN_BODY: Final = re.compile(
    r"(?:#?(?:[A-Za-z_]\w*|[@*#?$!0-9-])|[A-Za-z_]\w*(?::?[-+?]|##?|%%?|//?|\^\^?|,,?)[^$`\[(]*"
    r"|[A-Za-z_]\w*\[[@*]\])"
)
_BODY_NAME: Final = re.compile(r"#?([A-Za-z_]\w*)")
_TESTS_NUMBERS: Final = re.compile(r"\s-(?:eq|ne|lt|le|gt|ge|v|R)\s")

_MAX_NESTING: Final = 40


class Unreadable(ValueError):
    """The script cannot be read with certainty."""


def read_bash(text: str) -> StepReading:
    """Return what a step of a script contains.

    :raises Unreadable: it cannot be read.
    """
    reader = _Reader(text)
    reader.commands("")
    if reader.pending:
        raise Unreadable("a here-document does not end")
    return reader.found


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.nested = 0
        self.found = StepReading()
        self.pending: list[tuple[str, bool, bool]] = []

    # --- commands ---

    def commands(self, closer: str) -> None:
        """Read commands up to the end of the text, or past `closer`."""
        self.depth += 1
        if self.depth > _MAX_NESTING:
            raise Unreadable("it is nested too deeply")
        cases: list[int] = []
        parens = 0
        while True:
            self._skip_blanks()
            char = self._char()
            if not char:
                break
            if char == ")":
                self.at += 1
                if parens == 0:
                    if closer != ")":
                        raise Unreadable("a `)` has no `(`")
                    self.depth -= 1
                    return
                parens -= 1
                self._redirections()
            elif char == "(" and not self.text.startswith("((", self.at):
                self.at += 1
                parens += 1
            elif self._separator(char, cases):
                continue
            else:
                self._command(cases)
        if closer or parens or cases:
            raise Unreadable("a bracket or `case` does not end")
        self.depth -= 1

    def _separator(self, char: str, cases: list[int]) -> bool:
        if char == "\n":
            self.at += 1
            self._here_documents()
            return True
        if char == ";" and self.text[self.at : self.at + 2] in {";;", ";&"}:
            self.at += 3 if self.text.startswith(";;&", self.at) else 2
            if not cases:
                raise Unreadable("`;;` is outside `case`")
            self._pattern(cases)
            return True
        if char in ";|" or (char == "&" and not self.text.startswith("&>", self.at)):
            self.at += 1
            return True
        return False

    def _command(self, cases: list[int]) -> None:
        """Read one simple command, or the words that begin a compound one."""
        if self.text.startswith("((", self.at):
            self._arithmetic(self.at, 2, "inside `(( ))`, which bash evaluates")
            self._redirections()
            return
        words: list[Word] = []
        here: list[Word] = []
        start = self.at
        while True:
            self._skip_blanks()
            if self._redirection(here):
                continue
            char = self._char()
            if not char or (char in _ENDS and not self._is_substitution()):
                break
            word = self.word(at_start=not words)
            if not words and not here and self._keyword(word, cases):
                return
            words.append(word)
            if len(words) == 1 and self._function(word):
                return
        self._finish(words, here, start)

    def _keyword(self, word: Word, cases: list[int]) -> bool:
        """Read what follows a reserved word; return False if the word is not reserved."""
        raw = word.raw
        if raw in _PREFIXES:
            return True
        if raw in _CLOSERS:
            self._redirections()
        elif raw == "esac":
            if not cases:
                raise Unreadable("`esac` is outside `case`")
            cases.pop()
            self._redirections()
        elif raw == "[[":
            self._test(word.start)
        elif raw == "case":
            self._case(cases)
        elif raw in {"for", "select"}:
            self._loop()
        elif raw == "function":
            self._skip_blanks()
            self._function(self.word(), named=True)
        elif raw == "coproc":
            raise Unreadable("it uses `coproc`")
        else:
            return False
        return True

    def _case(self, cases: list[int]) -> None:
        self._skip_blanks()
        word = self.word()
        self.found.accept(word)
        self._skip_lines()
        if self.word().raw != "in":
            raise Unreadable("`case` has no `in`")
        cases.append(0)
        self._pattern(cases)

    def _pattern(self, cases: list[int]) -> None:
        """Read the patterns before a branch of `case`, or its end."""
        self._skip_lines()
        start = self.at
        if self._char() == "(":
            self.at += 1
        first = True
        while True:
            self._skip_blanks()
            word = self.word()
            if first and word.raw == "esac" and self._char() != ")":
                cases.pop()
                self._redirections()
                return
            first = False
            self._skip_blanks()
            char = self._char()
            self.at += 1
            if char == ")":
                break
            if char != "|":
                raise Unreadable("a pattern of `case` does not end")
        self.found.refuse(start, self.at, "in a pattern of `case`")

    def _loop(self) -> None:
        self._skip_blanks()
        if self.text.startswith("((", self.at):
            self._arithmetic(self.at, 2, "inside `for (( ))`, which bash evaluates")
            return
        name = self.word().raw
        if not _NAME.fullmatch(name):
            raise Unreadable("`for` has no name")
        self._skip_lines()
        if self.text.startswith("in", self.at) and self.text[self.at + 2 : self.at + 3] in {" ", "\t", "\n", ";"}:
            self.word()
            while (char := self._skip_blanks()) and (char not in _ENDS or self._is_substitution()):
                word = self.word()
                assign(self.found, name, word, word.start)

    def _function(self, word: Word, *, named: bool = False) -> bool:
        match = _FUNCTION.match(self.text, self.at)
        if match is None and not named:
            return False
        if match is not None:
            self.at = match.end()
        if not re.fullmatch(r"[\w.:-]+", word.raw) or PLACEHOLDER.search(word.raw):
            raise Unreadable("a function has an unusual name")
        self.found.assigned.append(("@", word.raw))
        return True

    def _test(self, start: int) -> None:
        """Read `[[ … ]]` to its end."""
        while True:
            self._skip_lines()
            if not self._char():
                raise Unreadable("`[[` does not end")
            if self._char() in "()<>|&;!":
                self.at += 1
            elif self.word().raw == "]]":
                break
        text = self.text[start : self.at]
        self.found.refuse(start, self.at, "inside `[[ ]]`, where bash can evaluate it")
        if _TESTS_NUMBERS.search(text) or text.count("[") > 1:
            self.found.evaluations.append(Evaluation(start, self.at, text, "inside `[[ ]]`"))
        self._redirections()

    def _finish(self, words: list[Word], here: list[Word], start: int) -> None:
        """Judge a simple command: its assignments, its name, its words."""
        rest = list(words)
        while rest and (_ASSIGNMENT.match(rest[0].raw) or _SUBSCRIPT.match(rest[0].raw)):
            self._assignment(rest.pop(0))
        judge(self.found, rest, here, self.text, (start, self.at))

    def _assignment(self, word: Word) -> None:
        match = _ASSIGNMENT.match(word.raw)
        if match is None:
            self.found.refuse(word.start, word.end, "in an assignment to a member of an array")
            self.found.evaluations.append(Evaluation(word.start, word.end, word.raw, "in the index of an array"))
            return
        if word.raw.endswith(")") and word.raw[match.end() :].startswith("("):
            self.found.refuse(word.start, word.end, "in the list of an array")
        assign(self.found, match[1], word, word.start + match.end())

    # --- redirections and here-documents ---

    def _redirections(self) -> None:
        """Read the redirections of a compound command, in which no placeholder may be."""
        here: list[Word] = []
        self._skip_blanks()
        while self._redirection(here):
            self._skip_blanks()
        for word in here:
            self.found.refuse(word.start, word.end, "in the here-string of a compound command")

    def _redirection(self, here: list[Word]) -> bool:
        match = _REDIRECTION.match(self.text, self.at)
        if match is None:
            return False
        self.at = match.end()
        self._skip_blanks()
        operator = match[1]
        word = self.word()
        if operator == "<<<":
            here.append(word)
        elif operator in {"<<", "<<-"}:
            self._begin_here_document(word, strips=operator == "<<-")
        else:
            self.found.refuse(
                word.start,
                word.end,
                f"the target of `{operator}`, which names any file, and to bash also a connection (/dev/tcp/…)",
                "Let a command read or write the file, such as `cat` or `tee`.",
            )
        return True

    def _begin_here_document(self, word: Word, *, strips: bool) -> None:
        if word.literal is None or "\n" in word.literal:
            raise Unreadable("the end of a here-document is not a plain word")
        self.pending.append((word.literal, strips, word.raw == word.literal))

    def _here_documents(self) -> None:
        for end, strips, expands in self.pending:
            start = self.at
            while True:
                if self.at >= len(self.text):
                    raise Unreadable("a here-document does not end")
                stop = self.text.find("\n", self.at)
                stop = len(self.text) if stop < 0 else stop
                line = self.text[self.at : stop]
                self.at = min(stop + 1, len(self.text))
                if (line.lstrip("\t") if strips else line) == end:
                    break
            body = self.text[start : self.at]
            self.found.refuse(start, self.at, "in a here-document", "Use a here-string: `<<< UTCP_ARG_…_UTCP_END`.")
            if expands and ("$" in body or "`" in body):
                self.found.evaluations.append(Evaluation(start, self.at, body, "in a here-document"))
        self.pending.clear()

    # --- words ---

    def word(self, *, at_start: bool = False) -> Word:
        """Read one word."""
        word = Word(self.at)
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in _ENDS:
                if self._is_substitution():
                    self._substitution(word)
                    continue
                if char == "(" and at_start and (match := _ASSIGNMENT.fullmatch(self.text[word.start : self.at])):
                    self._array(match[1])
                break
            self._piece(word, char)
        word.end = self.at
        word.raw = self.text[word.start : word.end]
        if not word.raw:
            raise Unreadable(f"it has an unexpected {self._char()!r}")
        return word

    def _piece(self, word: Word, char: str) -> None:
        """Read one part of a word outside quotation marks."""
        start = self.at
        if self._argument(word, ""):
            return
        if char in {"'", '"'}:
            self.at += 1
            self._until_mark(word, char)
        elif char == "$":
            self._dollar(word, "")
        elif char == "`":
            self._backticks(word)
        elif char == "\\":
            self._escape(word, "")
        else:
            self.at += 1
            word.parts.append(WordPart("text", char, "", start, self.at))

    def _argument(self, word: Word, quote: str) -> bool:
        match = PLACEHOLDER.match(self.text, self.at) if self._char() == "U" else None
        if match is None:
            return False
        word.parts.append(WordPart("argument", match[1], quote, match.start(), match.end()))
        self.at = match.end()
        return True

    def _escape(self, word: Word, quote: str) -> None:
        start = self.at
        if PLACEHOLDER.match(self.text, start + 1):
            raise Unreadable("a placeholder follows a backslash")
        self.at += 2
        escaped = self.text[start + 1 : start + 2]
        if not escaped:
            raise Unreadable("it ends with a backslash")
        if escaped != "\n":
            kept = escaped if not quote or escaped in '$`"\\' else f"\\{escaped}"
            word.parts.append(WordPart("text", kept, quote or "\\", start, self.at))

    def _until_mark(self, word: Word, mark: str) -> None:
        """Read to the closing quotation mark."""
        word.parts.append(WordPart("text", "", mark, self.at, self.at))
        while (char := self._char()) != mark:
            start = self.at
            if not char:
                raise Unreadable("a quotation mark is not closed")
            if self._argument(word, mark):
                continue
            if mark == '"' and char in "$`\\":
                {"$": self._dollar, "\\": self._escape}.get(char, self._quoted_backticks)(word, mark)
                continue
            self.at += 1
            word.parts.append(WordPart("text", char, mark, start, self.at))
        self.at += 1

    def _quoted_backticks(self, word: Word, quote: str) -> None:
        del quote
        self._backticks(word)

    def _array(self, name: str) -> None:
        """Read the list of an array; its members may have any words."""
        start = self.at
        self.at += 1
        while self._skip_lines() != ")":
            member = self.word()
            if member.raw.startswith("["):
                self.found.evaluations.append(Evaluation(member.start, member.end, member.raw, "in an array's index"))
        self.at += 1
        self.found.refuse(start, self.at, "in the list of an array")
        self.found.assigned.append((name, self.text[start : self.at]))

    # --- expansions ---

    def _dollar(self, word: Word, quote: str) -> None:
        start, after = self.at, self.text[self.at + 1 : self.at + 2]
        if PLACEHOLDER.match(self.text, start + 1):
            raise Unreadable("a placeholder follows a `$`")
        if after == "(" and self.text.startswith("$((", start):
            self._arithmetic(start, 3, "inside `$(( ))`, which bash evaluates")
        elif after == "[":
            self._arithmetic(start, 2, "inside `$[ ]`, which bash evaluates")
        elif after == "(":
            self._substitution(word)
            return
        elif after == "{":
            self._parameter(word, quote)
            return
        elif after in {"'", '"'} and not quote:
            self._special_quote(after)
        elif name := _NAME.match(self.text, start + 1):
            self._variable(word, quote, name[0], name.end())
            return
        elif after and after in _SPECIAL:
            self._variable(word, quote, after, start + 2)
            return
        else:
            self.at += 1
            word.parts.append(WordPart("text", "$", quote, start, self.at))
            return
        word.parts.append(WordPart("other", "", quote, start, self.at))

    def _variable(self, word: Word, quote: str, name: str, end: int) -> None:
        if PLACEHOLDER.search(name):
            raise Unreadable("a placeholder is part of the name of a variable")
        word.parts.append(WordPart("variable", name, quote, self.at, end))
        self.at = end

    def _special_quote(self, mark: str) -> None:
        start = self.at
        self.at += 2
        while (char := self._char()) != mark:
            if not char or (mark == '"' and char in "$`"):
                raise Unreadable("a `$` before a quotation mark has an unusual text")
            self.at += 2 if char == "\\" else 1
        self.at += 1
        self.found.refuse(start, self.at, f"inside `${mark}{mark}`", "Use plain quotation marks.")

    def _parameter(self, word: Word, quote: str) -> None:
        """Read `${…}`."""
        start = self.at
        self.at += 2
        self._balanced("{", "}")
        body = self.text[start + 2 : self.at - 1]
        self.found.refuse(start, self.at, "inside `${ }`")
        plain = _PLAIN_BODY.fullmatch(body)
        if plain is None or "@" in body[1:].replace("[@]", ""):
            self.found.evaluations.append(Evaluation(start, self.at, body, "inside `${ }`, which bash can evaluate"))
        if (assigned := re.match(r"([A-Za-z_]\w*):?=", body)) is not None:
            self.found.assigned.append((assigned[1], body))
        name = _BODY_NAME.match(body)
        word.parts.append(WordPart("variable", name[1] if name else "@", quote, start, self.at))

    def _arithmetic(self, start: int, opened: int, place: str) -> None:
        """Read arithmetic, which began at `start` with `opened` characters."""
        self.at = start + opened
        if self.text[self.at - 1] == "[":
            self._balanced("[", "]")
        else:
            self._balanced("(", ")")
            if self._char() != ")":
                raise Unreadable("`((` has no `))`")
            self.at += 1
        text = self.text[start : self.at]
        self.found.refuse(start, self.at, place)
        self.found.evaluations.append(Evaluation(start, self.at, text, place))

    def _balanced(self, opening: str, closing: str) -> None:
        """Read to the bracket that closes one which is open."""
        depth = 1
        inner = Word(self.at)
        self.nested += 1
        if self.nested > _MAX_NESTING:
            raise Unreadable("it is nested too deeply")
        while depth:
            char = self._char()
            if not char or char in "'\"`\\":
                raise Unreadable("brackets contain quotation marks")
            if char == "$":
                self._dollar(inner, '"')
                continue
            depth += (char == opening) - (char == closing)
            self.at += 1
        self.nested -= 1

    def _is_substitution(self) -> bool:
        return self.text[self.at : self.at + 2] in {"<(", ">("}

    def _substitution(self, word: Word) -> None:
        """Read `$( )`, `<( )` or `>( )`, with the commands in it."""
        start = self.at
        self.at += 2
        waiting, self.pending = self.pending, []
        self.commands(")")
        if self.pending:
            raise Unreadable("a here-document does not end")
        self.pending = waiting
        opened = self.text[start : start + 2]
        remedy = 'Run that command as a step of its own, and read "$CMD_<n>_OUTPUT" after it.'
        self.found.refuse(start, self.at, f"inside `{opened} )`", remedy)
        word.parts.append(WordPart("other", "", "", start, self.at))

    def _backticks(self, word: Word) -> None:
        start = self.at
        end = self.text.find("`", start + 1)
        if end < 0 or "\\" in self.text[start:end]:
            raise Unreadable("backticks contain a backslash, or do not end")
        self.at = end + 1
        text = self.text[start : self.at]
        self.found.refuse(start, self.at, "inside backticks")
        self.found.evaluations.append(Evaluation(start, self.at, text, "inside backticks"))
        word.parts.append(WordPart("other", "", "", start, self.at))

    # --- characters ---

    def _char(self) -> str:
        return self.text[self.at : self.at + 1]

    def _skip_blanks(self) -> str:
        """Skip blanks, continued lines and a comment; return the next character."""
        while (char := self._char()) and (char in _BLANKS or self.text.startswith("\\\n", self.at) or char == "#"):
            if char == "#":
                if self.at and self.text[self.at - 1] not in " \t\n;&|()":
                    break
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                self.found.refuse(self.at, end, "in a comment", "Remove it there.")
                self.at = end
            else:
                self.at += 1 if char in _BLANKS else 2
        return self._char()

    def _skip_lines(self) -> str:
        while self._skip_blanks() == "\n":
            self.at += 1
            self._here_documents()
        return self._char()
