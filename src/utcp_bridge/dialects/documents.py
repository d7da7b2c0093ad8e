"""JSON and YAML text, parsed within limits and written (pure). The author of the text need not be trusted.

1. The result is plain JSON data: keys are text, no dates, no NaN, at most 200 levels deep.
2. YAML means the core schema of YAML 1.2 (`no`, `on` and `2024-01-01` are text), plus the merge key `<<`.
3. For any bytes the only exception is `ManualError`, with line and column if they are known.
4. The number of values is limited, before JSON is parsed and while YAML is: a value takes up to 200 bytes of memory.

YAML is built from libyaml's events. PyYAML's own composer recurses in C, so deep nesting ends the process, and its
constructor follows YAML 1.1 (dates, `no` as false). Building from events is safe and takes half the time.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterable
from typing import Any, Final, Literal, NoReturn

import orjson
import yaml

from utcp_bridge.errors import ManualError
from utcp_bridge.foreign import TooManyValues, has_more_values, is_deeper, most_values
from utcp_bridge.model import is_list, is_object

__all__ = [
    "MAX_ALIASED_NODES",
    "MAX_DEPTH",
    "MAX_DOCUMENT_VALUES",
    "Form",
    "YamlProblem",
    "count_values",
    "decoded",
    "form_of",
    "parse_document",
    "parse_yaml",
    "write_document",
]

MAX_DEPTH = 200
_MAX_START: Final = 1_024
_MAX_SNIFFED: Final = 256 * 1024
"""Bytes of a text in an unknown encoding that are looked at to find its format."""
_RAML: Final = "#%RAML"
"""How a RAML description begins, which is YAML, too."""
_NAME_A_DOCUMENT: Final = "Name a JSON or YAML file."
MAX_ALIASED_NODES = 1_000_000
"""The number of nodes that the aliases of a document may stand for in total; more is an alias bomb."""
MAX_DOCUMENT_VALUES = most_values(16 * 1024 * 1024)
"""The most values of a document of 16 MiB, which is the default of `max_manual_bytes`. The OpenAPI description of
GitHub, one of the largest, has 12 MB and 420,000 values."""

MAX_ALIASED_TEXT = 64 * 1024 * 1024
"""The number of characters in the texts that the aliases of a document stand for."""
_BACKSLASHES: Final = "Write each backslash twice, or write paths with `/`."
_FEWER_VALUES: Final = "Split it, or raise `max_manual_bytes`: a document may have one value for each 8 bytes of it."
_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_NUMBER_STARTS = frozenset("0123456789+-.")
_TAG = "tag:yaml.org,2002:"
Form = Literal["json", "yaml"]
_STARTS = frozenset({"", *"0123456789+-.~nNtTfF"})
"""The first characters of numbers, booleans and null."""
_COMMENTS = re.compile(
    r'"[^"\\]*+(?:\\(?:.|\Z)[^"\\]*+)*+(?:"|\Z)|//[^\n]*|/\*(?:[^*]++|\*(?!/))*+(?:\*/|\Z)|,(?=\s*+[\]}])', re.DOTALL
)
"""Strings and comments, also those without an end: so each character is looked at once."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def parse_document(
    data: bytes | str,
    *,
    hint: str = "",
    jsonc: bool = False,
    where: str = "The document",
    most: int = MAX_DOCUMENT_VALUES,
) -> Any:
    """Return JSON or YAML text as plain data, and TOML if `hint` says so.

    `hint` is a media type, a file name or a suffix. Unless it says JSON, text that is not JSON is read as YAML. `jsonc`
    accepts comments and trailing commas. `where` names the text in messages. `most` is the most values.

    :raises ManualError: the text cannot be parsed, has duplicate YAML keys or too many values, is nested too deeply,
        contains an alias bomb, NaN or infinity.
    """
    text = decoded(data, where)
    if not text.strip():
        raise ManualError(f"{where} is empty.", remedy="Write or download its content again, or name another file.")
    if hint.endswith(".toml"):
        return _parse_toml(text, where)
    if text.startswith(_RAML):
        _refuse_foreign(text, where)
    try:
        document = _parsed(text, hint, jsonc=jsonc, where=where, most=most)
    except ManualError:
        _refuse_foreign(text, where)
        raise
    if isinstance(document, str):
        _refuse_foreign(text, where)
    return document


def _refuse_foreign(text: str, where: str) -> None:
    """Raise ManualError if a text that is not a document of ours has a known format of others."""
    from utcp_bridge.dialects.formats import format_of_text, said_of_format  # needed after a failure only

    if found := format_of_text(text):
        raise ManualError(f"{where} is {said_of_format(found)}.", remedy=found.way)


def _parsed(text: str, hint: str, *, jsonc: bool, where: str, most: int) -> Any:
    only_json = jsonc or _says_json(hint)
    if only_json or text.lstrip()[:1] in {"{", "["}:
        try:
            return _parse_jsonc(text, where, most) if jsonc else _parse_json(text, where, most)
        except TooManyValues:
            raise ManualError(f"{where} has more than {most:,} values.", remedy=_FEWER_VALUES) from None
        except orjson.JSONDecodeError as error:
            if only_json:
                raise _json_problem(error, where) from error
            return _parse_yaml(text, where, most, instead_of=error)
    return _parse_yaml(text, where, most)


def _parse_toml(text: str, where: str) -> Any:
    """Return TOML as plain JSON data: dates and times are text."""
    import tomllib

    try:
        document = tomllib.loads(text.replace("\r\n", "\n"))
        return orjson.loads(orjson.dumps(document))
    except (tomllib.TOMLDecodeError, RecursionError, orjson.JSONEncodeError) as error:
        raise ManualError(f"{where} is not valid TOML: {error}") from None


def count_values(document: Any) -> int:
    """Return the number of members of all objects and lists in a document, where one that is repeated counts each time.

    It stops at twice `MAX_ALIASED_NODES`.
    """
    found, waiting = 0, [document]
    while waiting and found < 2 * MAX_ALIASED_NODES:
        value = waiting.pop()
        members: Iterable[Any] = value.values() if is_object(value) else value if is_list(value) else ()
        found += len(value) if members else 0
        waiting.extend(one for one in members if is_object(one) or is_list(one))
    return found


def _says_json(hint: str) -> bool:
    kind = hint.split(";", 1)[0].strip().lower()
    return kind.endswith(("json", "json5", "jsonc"))


def decoded(data: bytes | str, where: str) -> str:
    """Return the text of a document without its byte order mark, which says its encoding.

    :raises ManualError: it is not text in this encoding, UTF-8 by default. `where` names it.
    """
    if isinstance(data, str):
        return data.removeprefix("\ufeff")
    encoding = "utf-8"
    for bom, name in _BOMS:
        if data.startswith(bom):
            data, encoding = data[len(bom) :], name
            break
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        _refuse_foreign(data[:_MAX_SNIFFED].decode("latin-1"), where)
        if encoding == "utf-8" and b"\0" in data[:_MAX_START]:
            raise ManualError(
                f"{where} is a binary file, such as an image or an archive, not text.", remedy=_NAME_A_DOCUMENT
            ) from error
        line = data.count(b"\n", 0, error.start) + 1
        raise ManualError(
            f"{where} is not {encoding.upper()} text (line {line}).", line=line, remedy="Save it as UTF-8."
        ) from error


def _parse_jsonc(text: str, where: str, most: int) -> Any:
    """Parse without a search for comments first: most files have none, and the search takes ten times as long."""
    try:
        return _parse_json(text, where, most)
    except TooManyValues:
        raise
    except orjson.JSONDecodeError:
        return _parse_json(_without_comments(text), where, most)


def _without_comments(text: str) -> str:
    """Replace comments and trailing commas by blanks, so that lines and columns stay the same."""

    def blank(match: re.Match[str]) -> str:
        found = match[0]
        is_unclosed = found.startswith("/*") and not found.endswith("*/", 2)
        return found if is_unclosed or found.startswith('"') else re.sub(r"[^\n]", " ", found)

    return _COMMENTS.sub(blank, _COMMENTS.sub(blank, text))


def _parse_json(text: str, where: str, most: int) -> Any:
    if has_more_values(text, most):
        raise TooManyValues(most)
    value = orjson.loads(text)
    if text.count("[") + text.count("{") > MAX_DEPTH and is_deeper(value, MAX_DEPTH):
        raise ManualError(f"{where} is nested more than {MAX_DEPTH} levels deep.")
    return value


def _json_problem(error: orjson.JSONDecodeError, where: str) -> ManualError:
    message = f"{where} is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})."
    remedy = _BACKSLASHES if "escape" in error.msg else None
    return ManualError(message, line=error.lineno, column=error.colno, remedy=remedy)


def _parse_yaml(text: str, where: str, most: int, *, instead_of: orjson.JSONDecodeError | None = None) -> Any:
    try:
        return parse_yaml(text, most)
    except YamlProblem as problem:
        if instead_of is not None and not problem.is_limit:
            raise _json_problem(instead_of, where) from problem
        place = f" (line {problem.line}, column {problem.column})" if problem.line else ""
        message = f"{where} is not usable YAML: {problem.what}{place}."
        remedy = _FEWER_VALUES if problem.is_limit and "values" in problem.what else None
        if "cannot start any token" in problem.what and "\t" in text:
            remedy = "Indent with spaces: YAML takes no tabs."
        remedy = remedy or next((advice for words, advice in _YAML_ADVICE.items() if words in problem.what), None)
        raise ManualError(message, line=problem.line, column=problem.column, remedy=remedy) from problem


_YAML_ADVICE: Final = {
    "hexdecimal": _BACKSLASHES,
    "unknown escape": _BACKSLASHES,
    "mapping values are not allowed": "If the file is YAML, put texts that contain `: ` in quotes.",
}
"""What to do, by words of the problem as libyaml has them."""


class YamlProblem(Exception):
    """YAML text that cannot be used. `line` and `column` count from 1. `is_limit`: it is valid but exceeds a limit."""

    def __init__(self, what: str, mark: Any = None, *, is_limit: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.line: int | None = mark.line + 1 if mark is not None else None
        self.column: int | None = mark.column + 1 if mark is not None else None
        self.is_limit = is_limit


def parse_yaml(text: str, most: int = MAX_DOCUMENT_VALUES) -> Any:
    """Return the one document in `text`; `most` is the most values (nodes), without those that aliases stand for.

    :raises YamlProblem: a syntax error, a duplicate key, an exceeded limit, or more than one document.
    """
    try:
        loader: Any = yaml.CSafeLoader(text)
        return _Builder(loader, most).document()
    except yaml.MarkedYAMLError as error:
        raise YamlProblem(error.problem or "it cannot be parsed", error.problem_mark) from error
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise YamlProblem("it contains characters that YAML does not allow") from error


class _Builder:
    def __init__(self, loader: Any, most: int) -> None:
        self._next = loader.get_event
        self._most = most
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        self._open_anchors: set[str] = set()
        self._nodes = 0
        self._aliased = 0
        self._characters = 0
        self._aliased_characters = 0

    def document(self) -> Any:
        self._next()  # stream start
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), 0)
        self._next()  # document end
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            raise YamlProblem("it contains more than one document", after.start_mark)
        return value

    def _value(self, event: Any, depth: int) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before, written = self._nodes, self._characters
        self._nodes += 1
        if self._nodes - self._aliased > self._most:
            raise YamlProblem(f"it has more than {self._most:,} values", event.start_mark, is_limit=True)
        if event.anchor:
            self._open_anchors.add(event.anchor)
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
            self._characters += len(event.value)
        elif depth >= MAX_DEPTH:
            raise YamlProblem(f"it is nested more than {MAX_DEPTH} levels deep", event.start_mark, is_limit=True)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(depth + 1)
        else:
            value = self._mapping(depth + 1)
        if event.anchor:
            self._open_anchors.discard(event.anchor)
            self._anchors[event.anchor] = (value, self._nodes - before, self._characters - written)
        return value

    def _alias(self, event: Any) -> Any:
        name = event.anchor
        if name in self._open_anchors:
            raise YamlProblem(f"alias *{name} is inside its own anchor", event.start_mark, is_limit=True)
        if name not in self._anchors:
            raise YamlProblem(f"alias *{name} has no anchor", event.start_mark)
        value, size, characters = self._anchors[name]
        self._nodes += size
        self._aliased += size
        self._characters += characters
        self._aliased_characters += characters
        if self._aliased > MAX_ALIASED_NODES or self._aliased_characters > MAX_ALIASED_TEXT:
            raise YamlProblem("its aliases stand for too many nodes", event.start_mark, is_limit=True)
        return value

    def _sequence(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._value(event, depth))
        return items

    def _mapping(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[dict[str, Any]] = []
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, depth)
            value = self._value(self._next(), depth)
            if key == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
                merged.extend(_mergeable(value, event))
            elif key in result:
                raise YamlProblem(f"key {key!r} appears twice", event.start_mark)
            else:
                result[key] = value
        for other in merged:
            for key, value in other.items():
                result.setdefault(key, value)
        return result

    def _key(self, event: Any, depth: int) -> str:
        """Return a key as text: `200:` is "200", `on:` is "on"."""
        if isinstance(event, yaml.ScalarEvent):
            self._value(event, depth)  # counts the node and keeps its anchor
            return str(event.value)
        if isinstance(event, yaml.AliasEvent):
            value = self._alias(event)
            if isinstance(value, str):
                return value
        raise YamlProblem("a key is not plain text", event.start_mark)


def _mergeable(value: dict[str, Any] | list[Any], event: Any) -> list[dict[str, Any]]:
    candidates = value if isinstance(value, list) else [value]
    if not all(isinstance(candidate, dict) for candidate in candidates):
        raise YamlProblem("the merge key << must have a mapping or a list of mappings", event.start_mark)
    return candidates


def _scalar(event: Any) -> Any:
    text: str = event.value
    tag: str | None = event.tag
    if tag is None and not event.implicit[0]:
        return text  # quoted or block text
    if tag is None or tag in {_TAG + "int", _TAG + "float", _TAG + "bool", _TAG + "null"}:
        return _plain(text, event)
    return text  # !!str, !!timestamp, !!binary and foreign tags: the text as written


def _plain(text: str, event: Any) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _NOT_FINITE.fullmatch(text):
        _refuse_not_finite(event)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else _refuse_not_finite(event)
    return text


def _refuse_not_finite(event: Any) -> NoReturn:
    raise YamlProblem("a number is not finite, and JSON has no such numbers", event.start_mark)


def form_of(name: str) -> Form:
    """Return the form for a file of this name: YAML if it ends in .yaml or .yml, else JSON."""
    return "yaml" if name.lower().endswith((".yaml", ".yml")) else "json"


def write_document(value: Any, form: Form = "json") -> str:
    """Return the text of a document, indented, with a line break at the end; keys keep their order."""
    if form == "json":
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.2 would not read as text, and writes repeated values in full, without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True for everything, because aliases are hard to read and to edit."""
        del data
        return True


def _write_text(dumper: Any, text: str) -> yaml.ScalarNode:
    node: yaml.ScalarNode = dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if _is_plain(text) else '"'
    )
    return node


def _is_plain(text: str) -> bool:
    """Return whether the library may write the text without quotes: `parse_yaml` reads the bare word as text."""
    if not all(character.isprintable() or character == "\n" for character in text):
        return False
    if text[:1] not in _STARTS or "\n" in text:
        return True
    try:
        return isinstance(parse_yaml(text), str | list | dict)
    except YamlProblem:
        return False


_Dumper.add_representer(str, _write_text)
