"""Change members of an object, or items of a list, in the text of JSON, JSONC, TOML and YAML (pure).

Each function finds where an entry starts and ends, and rewrites this part. Comments, order, indentation and line ends
are outside of it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, cast

import yaml

from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = [
    "Changes",
    "has_only_comments",
    "name_of",
    "repeated_in_json",
    "splice_json",
    "splice_toml",
    "splice_yaml",
]

Changes: TypeAlias = Mapping[str, JsonObject | None]
"""The new entry of each server; None removes it."""
_Edit: TypeAlias = tuple[int, int, str]
"""Replace the characters from the first position to before the second."""

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_JSON_TOKEN: Final = re.compile(
    r'"[^"\\]*+(?:\\(?:.|\Z)[^"\\]*+)*+(?:"|\Z)|//[^\r\n]*+|/\*(?:[^*]++|\*(?!/))*+(?:\*/|\Z)'
    r'|[{}\[\]:,]|[^\s"{}\[\]:,/]++',
    re.DOTALL,
)
_TOML_STRING: Final = (
    r'"""(?:[^"\\]++|\\(?:.|\Z)|"(?!""))*+(?:"{3,5}|\Z)|\'\'\'(?:[^\']++|\'(?!\'\'))*+(?:\'{3,5}|\Z)'
    r'|"[^"\\\n]*+(?:\\(?:.|\Z)[^"\\\n]*+)*+(?:"|(?=\n)|\Z)|\'[^\'\n]*+(?:\'|(?=\n)|\Z)'
)
_TOML_TOKEN: Final = re.compile(rf"{_TOML_STRING}|#[^\r\n]*+|[\[\]{{}},=\n]|[^\s\"'#\[\]{{}},=]++", re.DOTALL)
_TOML_KEY: Final = re.compile(rf"{_TOML_STRING}|[A-Za-z0-9_-]++", re.DOTALL)
_COMMENT_STARTS: Final = ("//", "/*", "#")


def name_of(item: Any) -> str | None:
    """Return the name of an entry in a list of servers."""
    name = item.get("name") if is_object(item) else None
    return name if isinstance(name, str) else None


def has_only_comments(text: str) -> bool:
    """Return whether a JSON text is empty but for comments."""
    rest = _JSON_TOKEN.sub(lambda found: "" if found[0].startswith(_COMMENT_STARTS) else "x", text)
    return not rest.strip()


# --- members between braces ------------------------------------------------------------------------------------------


class _Span(NamedTuple):
    """One member of an object, or one item of a list: where it, its value and its comma are in the text."""

    name: str
    start: int
    value: int
    end: int
    comma: int | None


@dataclass(frozen=True, slots=True)
class _Braces:
    """An object or a list in the text, from its opening brace at `start` to its closing one at `end`."""

    start: int
    end: int
    parts: Sequence[_Span]
    last: int
    """The end of the last token or comment inside."""


@dataclass(frozen=True, slots=True)
class _Writing:
    """How a member is written. `unit` is the indentation of one level, None for one line; `newline` ends lines."""

    member: Callable[[str, Any, str, str | None], str]
    """Takes the name, the value, the indentation of the member, and that of one level (None: in one line)."""
    value: Callable[[Any, str, str | None], str]
    unit: str | None
    newline: str


def _braces(text: str, start: int, token: re.Pattern[str], name_of: Callable[[str], str]) -> _Braces:
    """Return what is between the brace at `start` and its other brace. `name_of` reads a key, or a list's item."""
    parts: list[_Span] = []
    is_array = text[start] == "["
    depth, last = 0, start + 1
    first = colon = value = end = -1
    for found in token.finditer(text, start):
        word = found[0]
        if word.startswith(_COMMENT_STARTS):
            last = found.end() if depth == 1 else last
            continue
        depth -= word in {"}", "]"}
        closes = depth == 0 and found.start() > start
        if first >= 0 and (closes or (depth == 1 and word == ",")):
            named = text[value:end] if is_array else text[first:colon]
            parts.append(_Span(name_of(named), first, value, end, None if closes else found.start()))
            first = colon = value = -1
        elif depth == 1 and word in {":", "="} and colon < 0 and not is_array:
            colon = found.start()
        elif depth >= 1:
            first = found.start() if first < 0 else first
            value = found.start() if value < 0 and (is_array or colon >= 0) else value
            end = found.end()
        if closes:
            return _Braces(start, found.start(), parts, last)
        last = found.end()
        depth += word in {"{", "["}
    raise ValueError("a brace is not closed")


def _splice_braces(text: str, find: Callable[[str], _Braces], changes: Changes, writing: _Writing) -> str:
    """Return the text with members removed, replaced and added. `find` finds the braces in the text as it is."""
    braces = find(text)
    latest = {part.name: part for part in braces.parts}
    removed = [part for part in braces.parts if part.name in changes and changes[part.name] is None]
    unit = _unit_in(text, braces, writing)
    edits = [
        (part.value, part.end, writing.value(changes[name], _indent_at(text, part.start), unit))
        for name, part in latest.items()
        if changes.get(name) is not None
    ]
    text = _applied(text, [*edits, *_removals(text, braces, removed)])
    added = {name: entry for name, entry in changes.items() if entry is not None and name not in latest}
    return _added(text, find(text), added, writing) if added else text


def _removals(text: str, braces: _Braces, removed: Sequence[_Span]) -> list[_Edit]:
    """Return the edits that remove members with their commas. Comments beside them stay."""
    cuts: list[tuple[int, int]] = []
    for part in removed:
        cuts.append((part.start, part.end))
        if part.comma is not None:
            cuts.append((part.comma, part.comma + 1))
    staying = [part for part in braces.parts if part not in removed]
    if removed and staying and braces.parts[-1].comma is None and staying[-1].comma is not None:
        cuts.append((staying[-1].comma, staying[-1].comma + 1))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(cuts):
        if merged and not text[merged[-1][1] : start].strip():
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return [(*_widened(text, start, end), "") for start, end in merged]


def _widened(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a cut together with the blanks, and with the line, that would stay empty after it."""
    if text[start:end] == ",":
        return start, end
    left, right = start, end
    while left and text[left - 1] in " \t":
        left -= 1
    while right < len(text) and text[right] in " \t":
        right += 1
    starts_line = left == 0 or text[left - 1] == "\n"
    ends_line = right == len(text) or text[right] in "\r\n"
    if starts_line and ends_line:
        return left, _after_newline(text, right)
    if starts_line or (text[end - 1] == "," and not ends_line):
        return start, right
    return left, end if text[end : end + 1] in {"}", "]"} else right


def _added(text: str, braces: _Braces, added: Mapping[str, Any], writing: _Writing) -> str:
    unit = _unit_in(text, braces, writing)
    final = braces.parts[-1] if braces.parts else None
    has_comma = final is not None and final.comma is not None
    edits: list[_Edit] = [(final.end, final.end, ",")] if final is not None and not has_comma else []
    outer = _indent_at(text, braces.start)

    def member(name: str, indent: str, level: str | None) -> str:
        is_item = text[braces.start] == "["
        return (
            writing.value(added[name], indent, level) if is_item else writing.member(name, added[name], indent, level)
        )

    if unit is None:
        between = " " if final is not None and (" " in text[braces.start : braces.end] or has_comma) else ""
        made = ", ".join(member(name, "", None) for name in added)
        return _applied(text, [*edits, (braces.last, braces.last, between + made + ("," if has_comma else ""))])
    inner = outer + unit
    if final is not None and not text[text.rfind("\n", 0, final.start) + 1 : final.start].strip():
        inner = _indent_at(text, final.start)
    before = writing.newline + inner
    made = ",".join(before + member(name, inner, unit) for name in added)
    made += "," if has_comma else ""
    if "\n" in text[braces.last : braces.end]:
        return _applied(text, [*edits, (braces.last, braces.last, made)])
    return _applied(text, [*edits, (braces.last, braces.end, made + writing.newline + outer)])


def _unit_in(text: str, braces: _Braces, writing: _Writing) -> str | None:
    """Return the indentation of a level; None if members of these braces are written in one line."""
    if "\n" in text[braces.start : braces.end]:
        return writing.unit
    whole = text.strip()
    return writing.unit if not braces.parts and ("\n" in whole or whole == "{}") else None


def _applied(text: str, edits: Iterable[_Edit]) -> str:
    """Return the text after edits that do not overlap. Of those at one place the first one comes first."""
    for start, end, new in sorted(edits, key=lambda one: one[:2])[::-1]:
        text = text[:start] + new + text[end:]
    return text


def _indent_at(text: str, position: int) -> str:
    """Return the blanks with which the line of a position starts."""
    line = text[text.rfind("\n", 0, position) + 1 : position]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _after_newline(text: str, position: int) -> int:
    if text.startswith("\r\n", position):
        return position + 2
    return position + 1 if text.startswith("\n", position) else position


def _newline_of(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


# --- JSON ------------------------------------------------------------------------------------------------------------


def splice_json(text: str, key: tuple[str, ...], changes: Changes, listed: bool) -> str:
    opening = next((found for found in _JSON_TOKEN.finditer(text) if not found[0].startswith(_COMMENT_STARTS)), None)
    if opening is None:
        before = f"{text.rstrip()}{_newline_of(text)}" if text.strip() else ""
        return splice_json(f"{before}{{}}{_newline_of(text)}", key, changes, listed)
    writing = _json_writing(text)
    start = opening.start()
    for depth, step in enumerate(key):
        braces = _json_braces(text, start)
        part = next((part for part in reversed(braces.parts) if part.name == step), None)
        if part is None or text[part.value] not in "{[":
            changes = {step: _nested(key[depth + 1 :], changes, listed)}
            break
        start = part.value
    return _splice_braces(text, lambda now: _json_braces(now, start), changes, writing)


def repeated_in_json(text: str, key: Sequence[str]) -> list[str]:
    """Return the names that several members of the object at `key` have. Readers of JSON take the last of them."""
    opening = next((found for found in _JSON_TOKEN.finditer(text) if not found[0].startswith(_COMMENT_STARTS)), None)
    start = None if opening is None else opening.start()
    for step in key:
        if start is None or text[start] != "{":
            return []
        parts = _json_braces(text, start).parts
        start = next((part.value for part in reversed(parts) if part.name == step), None)
    if start is None or text[start] != "{":
        return []
    names = [part.name for part in _json_braces(text, start).parts]
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def _nested(key: tuple[str, ...], changes: Changes, listed: bool) -> Any:
    """Return the new entries inside the objects that are missing around them."""
    made: Any = {name: entry for name, entry in changes.items() if entry is not None}
    made = [*made.values()] if listed else made
    for step in reversed(key):
        made = {step: made}
    return made


def _json_braces(text: str, start: int) -> _Braces:
    if text[start] == "{":
        return _braces(text, start, _JSON_TOKEN, lambda key: str(json.loads(_JSON_TOKEN.findall(key)[0])))
    return _braces(text, start, _JSON_TOKEN, _json_item_name)


def _json_item_name(item: str) -> str:
    from utcp_bridge.dialects.documents import parse_document

    return name_of(parse_document(f"[{item}]", hint="jsonc", jsonc=True)[0]) or ""


def _json_writing(text: str) -> _Writing:
    indents = [line[: -len(rest)] for line in text.splitlines() if (rest := line.lstrip(" \t"))[:1] in {'"', "/"}]
    indents = [indent for indent in indents if indent]
    unit = min(indents, key=len) if indents else "  "
    newline = _newline_of(text)
    compact = '":' in text and '": ' not in text and "\n" not in text.strip()

    def value(entry: Any, indent: str, level: str | None) -> str:
        if level is None:
            return json.dumps(entry, ensure_ascii=False, separators=(",", ":") if compact else None)
        return json.dumps(entry, ensure_ascii=False, indent=level).replace("\n", newline + indent)

    def member(name: str, entry: Any, indent: str, level: str | None) -> str:
        colon = ":" if level is None and compact else ": "
        return json.dumps(name, ensure_ascii=False) + colon + value(entry, indent, level)

    return _Writing(member, value, unit, newline)


# --- TOML ------------------------------------------------------------------------------------------------------------


class _Statement(NamedTuple):
    """A header or a key with its value: its whole path, that of its table, its lines, and where its value starts."""

    path: tuple[str | int, ...]
    table: tuple[str | int, ...]
    start: int
    end: int
    value: int | None


def _statements(text: str) -> list[_Statement]:
    found: list[_Statement] = []
    table: tuple[str | int, ...] = ()
    counts: dict[tuple[str | int, ...], int] = {}
    first = equals = stop = -1
    depth = 0

    def close(end: int) -> None:
        nonlocal table
        start = text.rfind("\n", 0, first) + 1
        if text[first] != "[":
            path = table + _toml_keys(text[first:equals])
            found.append(
                _Statement(
                    path,
                    table,
                    start,
                    end,
                    equals + 1 + len(text[equals + 1 : end]) - len(text[equals + 1 : end].lstrip()),
                )
            )
            return
        table = _resolved(_toml_keys(text[first:stop]), counts, is_item=text.startswith("[[", first))
        found.append(_Statement(table, table, start, end, None))

    for token in _TOML_TOKEN.finditer(text):
        word = token[0]
        if word == "\n" and depth == 0 and first >= 0:
            close(token.end())
            first = equals = -1
        if word == "\n" or word.startswith("#"):
            continue
        first = token.start() if first < 0 else first
        equals = token.start() if word == "=" and equals < 0 else equals
        stop = token.end()
        depth += (word in {"[", "{"}) - (word in {"]", "}"})
    if first >= 0:
        close(len(text))
    return found


def _resolved(
    keys: tuple[str, ...], counts: dict[tuple[str | int, ...], int], *, is_item: bool
) -> tuple[str | int, ...]:
    """Return the path of a header, with the index of the newest item after the name of each array of tables."""
    path: tuple[str | int, ...] = ()
    for number, step in enumerate(keys, 1):
        path = (*path, step)
        if is_item and number == len(keys):
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = (*path, counts[path] - 1)
    return path


def _toml_keys(text: str) -> tuple[str, ...]:
    keys = _TOML_KEY.findall(text)
    return tuple(str(tomllib.loads(f"k = {key}")["k"]) if key[0] in "\"'" else key for key in keys)


def splice_toml(text: str, key: tuple[str, ...], changes: Changes, listed: bool) -> str:
    inline = next(
        (one for one in _statements(text) if one.value is not None and len(one.path) <= len(key)
         and one.path == key[: len(one.path)] and text[one.value] == "{"),
        None,
    )  # fmt: skip
    if inline is not None and inline.value is not None:
        return _splice_toml_inline(text, inline.value, key[len(inline.path) :], changes, listed)
    names = _toml_names(text, key)
    newline = _newline_of(text)
    edits: list[_Edit] = []
    for name, entry in changes.items():
        prefix = names.get(name)
        runs = [] if prefix is None else _runs(text, prefix)
        for number, (first, start, end) in enumerate(runs):
            if entry is not None and number == 0:
                edits.append((start, end, _toml_entry(first, key, name, entry).replace("\n", newline)))
            else:
                edits.append((*_with_blank_lines(text, start, end), ""))
    text = _applied(text, edits)
    for name, entry in changes.items():
        if entry is not None and name not in names:
            text = _toml_added(text, key, name, entry)
    return text


def _toml_names(text: str, key: tuple[str, ...]) -> dict[str, tuple[str | int, ...]]:
    """Return the path of the statements of each server. In an array of tables it ends with a number."""
    found: Any = tomllib.loads(text)
    for step in key:
        found = found.get(step, {})
    if is_list(found):
        return {name: (*key, number) for number, item in enumerate(found) if (name := name_of(item)) is not None}
    return {name: (*key, name) for name in cast("JsonObject", found)}


def _runs(text: str, prefix: tuple[str | int, ...]) -> list[tuple[_Statement, int, int]]:
    """Return each run of statements whose paths start with `prefix`: its first, and where the run starts and ends."""
    runs: list[tuple[_Statement, int, int]] = []
    was_inside = False
    for one in _statements(text):
        is_inside = one.path[: len(prefix)] == prefix
        if is_inside and was_inside:
            runs[-1] = (*runs[-1][:2], one.end)
        elif is_inside:
            runs.append((one, one.start, one.end))
        was_inside = is_inside
    return runs


def _with_blank_lines(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a cut together with the blank lines after it, or at the end of the text before it."""
    before = text[:start].rstrip()
    if not before or text[len(before) : start].count("\n") > 1:
        rest = text[end:]
        end += len(re.match(r"(?:[ \t]*\r?\n)*", rest)[0])  # type: ignore[index]  # it matches nothing too
        if end == len(text) and before:
            start = _after_newline(text, len(before))
    return start, end


def _toml_entry(first: _Statement, key: tuple[str, ...], name: str, entry: JsonObject) -> str:
    """Return the lines of an entry in the form in which its old ones start."""
    if first.value is None:
        return _toml_table(key, name, entry, is_item=isinstance(first.path[len(key)], int)) + "\n"
    return _toml_line((*key, name)[len(first.table) :], entry)


def _toml_added(text: str, key: tuple[str, ...], name: str, entry: JsonObject) -> str:
    newline = _newline_of(text)
    beneath = [one for one in _statements(text) if one.path[: len(key)] == key]
    if beneath and (last := beneath[-1]).value is not None and len(last.table) <= len(key):
        made, at = _toml_line((*key, name)[len(last.table) :], entry), last.end
        before = "" if text[:at].endswith("\n") else "\n"
        return text[:at] + (before + made).replace("\n", newline) + text[at:]
    is_item = any(isinstance(one.path[len(key)], int) for one in beneath if len(one.path) > len(key))
    made = _toml_table(key, name, entry, is_item=is_item) + "\n"
    at = beneath[-1].end if beneath else len(text)
    before, after = text[:at], text[at:]
    gap = "" if not before.strip() else "\n" if before.endswith("\n") else "\n\n"
    gap = "" if before.endswith(("\n\n", "\n\r\n")) else gap
    made = gap + made + ("\n" if after.strip() and not after.startswith(("\n", "\r\n")) else "")
    return before + made.replace("\n", newline) + after


def _toml_table(key: tuple[str, ...], name: str, entry: JsonObject, *, is_item: bool) -> str:
    if is_item:
        head = ".".join(map(_toml_key, key))
        return "\n".join(
            [f"[[{head}]]", *(f"{_toml_key(member)} = {_toml_value(value)}" for member, value in entry.items())]
        )
    head = ".".join(map(_toml_key, (*key, name)))
    plain = {member: value for member, value in entry.items() if not is_object(value)}
    lines = [f"[{head}]", *(f"{_toml_key(member)} = {_toml_value(value)}" for member, value in plain.items())]
    for member, value in entry.items():
        if is_object(value):
            lines += ["", f"[{head}.{_toml_key(member)}]"]
            lines += [f"{_toml_key(inner)} = {_toml_value(item)}" for inner, item in value.items()]
    return "\n".join(lines)


def _toml_line(path: Sequence[str | int], entry: JsonObject) -> str:
    return f"{'.'.join(_toml_key(str(step)) for step in path)} = {_toml_value(entry)}\n"


def _toml_key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _toml_value(name)


def _toml_value(value: Any) -> str:
    if is_object(value):
        inner = ", ".join(f"{_toml_key(name)} = {_toml_value(member)}" for name, member in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if is_list(value):
        return f"[{', '.join(map(_toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")


def _splice_toml_inline(text: str, start: int, key: tuple[str, ...], changes: Changes, listed: bool) -> str:
    def member(name: str, entry: Any, _indent: str, _level: str | None) -> str:
        return f"{_toml_key(name)} = {_toml_value(entry)}"

    def find(now: str, at: int) -> _Braces:
        return _braces(now, at, _TOML_TOKEN, lambda name: ".".join(_toml_keys(name)))

    writing = _Writing(member, lambda entry, _indent, _level: _toml_value(entry), None, "\n")
    for depth, step in enumerate(key):
        part = next((part for part in find(text, start).parts if part.name == step), None)
        if part is None:
            changes, key = {step: _nested(key[depth + 1 :], changes, listed)}, ()
            break
        start = part.value
    return _splice_braces(text, lambda now: find(now, start), changes, writing)


# --- YAML ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _YamlNode:
    """A part of the document: what it is, and where it is in the text."""

    is_list: bool
    is_flow: bool
    text: str
    start: int
    end: int
    members: Sequence[tuple[_YamlNode, _YamlNode]]
    """Keys and values; of a list each item twice."""

    @property
    def name(self) -> str:
        """Return the value of the member `name`."""
        return next((value.text for key, value in self.members if key.text == "name"), "")

    def named(self) -> list[tuple[str, _YamlNode, _YamlNode]]:
        """Return the members with their names: their keys, or in a list the names that the items have."""
        return [(value.name if self.is_list else key.text, key, value) for key, value in self.members]


def _node(raw: Any) -> _YamlNode:
    """Return a composed node, whose libraries' classes are untyped."""
    members: list[tuple[_YamlNode, _YamlNode]] = []
    is_list, is_scalar = raw.id == "sequence", raw.id == "scalar"
    if is_list:
        members = [(item, item) for item in map(_node, raw.value)]
    elif not is_scalar:
        members = [(_node(key), _node(value)) for key, value in raw.value]
    text = str(raw.value) if is_scalar else ""
    start, end = int(raw.start_mark.index), int(raw.end_mark.index)
    return _YamlNode(is_list, not is_scalar and bool(raw.flow_style), text, start, end, members)


def _document(text: str) -> _YamlNode | None:
    raw: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    return None if raw is None or (raw.id == "scalar" and not raw.value) else _node(raw)


def splice_yaml(text: str, key: tuple[str, ...], changes: Changes, listed: bool) -> str:
    """Return the text with the servers at `key` changed. `listed`: an object of servers that is missing is a list."""
    node = _document(text)
    newline = _newline_of(text)
    if node is None:
        before = text if not text or text.endswith("\n") else text + newline
        return before + _yaml_lines(_nested(key, changes, listed), "", newline)
    for depth, step in enumerate(key):
        found = next(((name, value) for name, value in node.members if name.text == step), None)
        if found is None:
            return _splice_block(text, node, {step: _nested(key[depth + 1 :], changes, listed)})
        name, node = found
        if not node.members:
            made = _nested(key[depth + 1 :], changes, listed or node.is_list)
            start = text.rfind("\n", 0, name.start) + 1
            return (
                text[:start]
                + _yaml_lines({step: made}, _indent_at(text, name.start), newline)
                + text[_yaml_end(text, *found) :]
            )
    return _splice_block(text, node, changes)


def _splice_block(text: str, node: _YamlNode, changes: Changes) -> str:
    if node.is_flow:
        return _splice_flow(text, node, changes)
    newline = _newline_of(text)
    spans = {name: (_yaml_start(text, key, node), _yaml_end(text, key, value)) for name, key, value in node.named()}
    indent = " " * (len(text[(top := min(spans.values())[0]) :]) - len(text[top:].lstrip(" ")))

    def lines(name: str, entry: JsonObject) -> str:
        return _yaml_lines([entry] if node.is_list else {name: entry}, indent, newline)

    edits: list[_Edit] = [
        (*span, "" if (entry := changes[name]) is None else lines(name, entry))
        for name, span in spans.items()
        if name in changes
    ]
    added = "".join(lines(name, entry) for name, entry in changes.items() if entry is not None and name not in spans)
    staying = [span for name, span in spans.items() if name not in changes or changes[name] is not None]
    if added:
        at = staying[-1][1] if staying else top
        edits.append((at, at, added if text[:at].endswith("\n") else newline + added))
    elif not staying:
        colon = text.rindex(":", 0, node.start) + 1
        edits.append((colon, colon, " []" if node.is_list else " {}"))
    return _applied(text, edits)


def _yaml_start(text: str, key: _YamlNode, parent: _YamlNode) -> int:
    """Return where the first line of a member starts."""
    return text.rfind("\n", 0, text.rindex("-", 0, key.start) if parent.is_list else key.start) + 1


def _yaml_end(text: str, key: _YamlNode, value: _YamlNode) -> int:
    """Return where the lines of a member end: after the last line of its last value. Comments after it are outside.

    An alias has the place of its anchor, which comes before the key.
    """
    after = key.start if key is value else key.end
    node = value
    while not node.is_flow and node.members and node.start >= after:
        last_key, last = node.members[-1]
        after, node = (last_key.start if node.is_list else last_key.end), last
    end = node.end if node.start >= after else after
    if text[:end].endswith("\n"):
        return end
    line_end = text.find("\n", end)
    return len(text) if line_end < 0 else line_end + 1


def _yaml_lines(value: Any, indent: str, newline: str) -> str:
    dumped = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False, width=2**20)
    return "".join(indent + line + newline for line in dumped.removesuffix("\n").split("\n"))


def _splice_flow(text: str, node: _YamlNode, changes: Changes) -> str:
    def value(entry: Any, _indent: str, _level: str | None) -> str:
        return json.dumps(entry, ensure_ascii=False)

    def member(name: str, entry: Any, _indent: str, _level: str | None) -> str:
        return f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(entry, ensure_ascii=False)}"

    def find(now: str) -> _Braces:
        found = _flow_at(_document(now), node.start)
        named = found.named()
        ends = [*(key.start for _, key, _ in named[1:]), found.end - 1]
        parts: list[_Span] = []
        for (name, key, value), until in zip(named, ends, strict=True):
            comma = now.find(",", value.end, until)
            parts.append(_Span(name, key.start, value.start, value.end, None if comma < 0 else comma))
        return _Braces(found.start, found.end - 1, parts, len(now[: found.end - 1].rstrip()))

    return _splice_braces(text, find, changes, _Writing(member, value, None, "\n"))


def _flow_at(node: _YamlNode | None, start: int) -> _YamlNode:
    """Return the object or list in braces that starts at this character."""
    waiting = [node] if node is not None else []
    while waiting:
        one = waiting.pop()
        if one.is_flow and one.start == start:
            return one
        waiting.extend(value for _, value in one.members)
    raise ValueError("the object is not there")
