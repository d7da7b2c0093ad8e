"""Text that a stranger or an operator wrote, parsed as JSON or YAML within limits (pure).

Rule 1. The result is plain JSON data: string keys, no dates, no NaN, at most 200 levels deep.
Rule 2. YAML means YAML 1.2's core schema (`no`, `on` and `2024-01-01` are text), plus the merge key `<<`.
Rule 3. Whatever the bytes are, the only exception is `DocumentError`, with line and column where known.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from typing import Any

import orjson

from utcp_bridge.dialects.yaml_events import MAX_DEPTH, YamlProblem, parse_yaml
from utcp_bridge.errors import ManualError

__all__ = ["MAX_DEPTH", "DocumentError", "parse_document"]

_COMMENTS = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=\s*[\]}])', re.DOTALL)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class DocumentError(ManualError):
    """Text that is neither JSON nor YAML, or breaks a limit; `line` and `column` count from 1."""

    def __init__(
        self, message: str, *, line: int | None = None, column: int | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.line = line
        self.column = column


def parse_document(data: bytes | str, *, hint: str = "", jsonc: bool = False, where: str = "The document") -> Any:
    """JSON or YAML as plain data.

    `hint` is a media type, a file name or a suffix; without one that says JSON, what is not JSON is read as YAML.
    `jsonc` accepts comments and trailing commas. `where` names the text in messages.

    :raises DocumentError: not parseable, duplicate YAML keys, too deep, an alias bomb, NaN or infinity.
    """
    text = _decoded(data, where)
    if not text.strip():
        raise DocumentError(f"{where} is empty.")
    only_json = jsonc or _says_json(hint)
    if only_json or text.lstrip()[:1] in {"{", "["}:
        try:
            return _parse_jsonc(text, where) if jsonc else _parse_json(text, where)
        except orjson.JSONDecodeError as error:
            if only_json:
                raise _json_problem(error, where) from error
            return _parse_yaml(text, where, instead_of=error)
    return _parse_yaml(text, where)


def _says_json(hint: str) -> bool:
    kind = hint.split(";", 1)[0].strip().lower()
    return kind.endswith(("json", "json5", "jsonc"))


def _decoded(data: bytes | str, where: str) -> str:
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
        line = data.count(b"\n", 0, error.start) + 1
        raise DocumentError(
            f"{where} is not {encoding.upper()} text (line {line}).", line=line, remedy="Save it as UTF-8."
        ) from error


def _parse_jsonc(text: str, where: str) -> Any:
    """Most files that may have comments have none, and looking for them costs ten times the parsing."""
    try:
        return _parse_json(text, where)
    except orjson.JSONDecodeError:
        return _parse_json(_without_comments(text), where)


def _without_comments(text: str) -> str:
    """Comments and trailing commas become blanks, so that lines and columns stay what they were."""

    def blank(match: re.Match[str]) -> str:
        found = match[0]
        return found if found.startswith('"') else re.sub(r"[^\n]", " ", found)

    return _COMMENTS.sub(blank, _COMMENTS.sub(blank, text))


def _parse_json(text: str, where: str) -> Any:
    value = orjson.loads(text)
    if _is_too_deep(value):
        raise DocumentError(f"{where} is nested more than {MAX_DEPTH} levels deep.")
    return value


def _is_too_deep(value: Any) -> bool:
    """Level by level: a JSON tree has no cycles, and only containers are followed."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _children(parent: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return parent.values() if isinstance(parent, dict) else parent


def _json_problem(error: orjson.JSONDecodeError, where: str) -> DocumentError:
    return DocumentError(
        f"{where} is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno}).",
        line=error.lineno,
        column=error.colno,
    )


def _parse_yaml(text: str, where: str, *, instead_of: orjson.JSONDecodeError | None = None) -> Any:
    try:
        return parse_yaml(text)
    except YamlProblem as problem:
        if instead_of is not None and not problem.is_limit:
            raise _json_problem(instead_of, where) from problem
        place = f" (line {problem.line}, column {problem.column})" if problem.line else ""
        message = f"{where} is not usable YAML: {problem.what}{place}."
        raise DocumentError(message, line=problem.line, column=problem.column) from problem
