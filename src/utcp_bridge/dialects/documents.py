"""JSON and YAML text, parsed within limits and written (pure). The author of the text need not be trusted.

1. The result is plain JSON data: keys are text, no dates, no NaN, at most 200 levels deep.
2. YAML means the core schema of YAML 1.2 (`no`, `on` and `2024-01-01` are text), plus the merge key `<<`.
3. For any bytes the only exception is `ManualError`, with line and column if they are known.
4. The number of values is limited, before JSON is parsed and while YAML is: a value takes up to 200 bytes of memory.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Any, Final, Literal

import orjson

from utcp_bridge.dialects.json_comments import without_comments
from utcp_bridge.errors import ManualError
from utcp_bridge.foreign import TooManyValues, has_more_values, is_deeper, most_values
from utcp_bridge.model import is_list, is_object

__all__ = [
    "MAX_DEPTH",
    "MAX_DOCUMENT_VALUES",
    "Form",
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
MAX_DOCUMENT_VALUES = most_values(16 * 1024 * 1024)
"""The most values of a document of 16 MiB, which is the default of `max_manual_bytes`. The OpenAPI description of
GitHub, one of the largest, has 12 MB and 420,000 values."""

_MAX_COUNTED: Final = 2_000_000
"""Values up to which a document is counted: twice the number that the aliases of a YAML document may stand for."""
_BACKSLASHES: Final = "Write each backslash twice, or write paths with `/`."
_FEWER_VALUES: Final = "Split it, or raise `max_manual_bytes`: a document may have one value for each 8 bytes of it."
Form = Literal["json", "yaml"]
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

    It stops at two million.
    """
    found, waiting = 0, [document]
    while waiting and found < _MAX_COUNTED:
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
        return _parse_json(without_comments(text), where, most)


def _parse_json(text: str, where: str, most: int) -> Any:
    if has_more_values(text, most):
        raise TooManyValues(most)
    value = orjson.loads(text)
    if text.count("[") + text.count("{") > MAX_DEPTH and is_deeper(value, MAX_DEPTH):
        raise ManualError(f"{where} is nested more than {MAX_DEPTH} levels deep.")
    return value


def _json_problem(error: orjson.JSONDecodeError, where: str) -> ManualError:
    message = f"{where} is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})."
    remedy = _BACKSLASHES if "escape" in error.msg else _CUT if "end of data" in error.msg else None
    return ManualError(message, line=error.lineno, column=error.colno, remedy=remedy)


def _parse_yaml(text: str, where: str, most: int, *, instead_of: orjson.JSONDecodeError | None = None) -> Any:
    from utcp_bridge.dialects.yaml_text import YamlProblem, read_yaml  # see parse_yaml

    try:
        return read_yaml(text, most=most, depth=MAX_DEPTH)
    except YamlProblem as problem:
        if instead_of is not None and not problem.is_limit:
            raise _json_problem(instead_of, where) from problem
        place = f" (line {problem.line}, column {problem.column})" if problem.line else ""
        message = f"{where} is not usable YAML: {problem.what}{place}."
        remedy = _FEWER_VALUES if problem.is_limit and "values" in problem.what else None
        if "\t" in text and any(words in problem.what for words in ("cannot start any token", "found a tab")):
            remedy = "Indent with spaces: YAML takes no tabs."
        remedy = remedy or next((advice for words, advice in _YAML_ADVICE.items() if words in problem.what), None)
        raise ManualError(message, line=problem.line, column=problem.column, remedy=remedy) from problem


_CUT: Final = "The document ends too early. Write its missing brackets, or get it again."
_YAML_ADVICE: Final = {
    "hexdecimal": _BACKSLASHES,
    "unknown escape": _BACKSLASHES,
    "did not find expected ','": "Write the missing comma, or the end of the list or object that is open.",
    "did not find expected": "Let the keys of one object, and the items of one list, begin in the same column.",
    "unexpected end of stream": "Write the end of the text in quotes that is open.",
    "mapping values are not allowed": "If the file is YAML, put texts that contain `: ` in quotes.",
}
"""What to do, by words of the problem as libyaml has them."""


def parse_yaml(text: str, most: int = MAX_DOCUMENT_VALUES) -> Any:
    """Return the one document in `text`; `most` is the most values (nodes), without those that aliases stand for.

    :raises YamlProblem: a syntax error, a duplicate key, an exceeded limit, or more than one document.
    """
    from utcp_bridge.dialects.yaml_text import read_yaml  # PyYAML takes 10 ms to import

    return read_yaml(text, most=most, depth=MAX_DEPTH)


def form_of(name: str) -> Form:
    """Return the form for a file of this name: YAML if it ends in .yaml or .yml, else JSON."""
    return "yaml" if name.lower().endswith((".yaml", ".yml")) else "json"


def write_document(value: Any, form: Form = "json") -> str:
    """Return the text of a document, indented, with a line break at the end; keys keep their order."""
    if form == "json":
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    from utcp_bridge.dialects.yaml_text import write_yaml  # see parse_yaml

    return write_yaml(value)
