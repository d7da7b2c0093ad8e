"""Entries in the text of a configuration: added, removed and changed, while comments, order and spacing stay (pure).

The text is JSON (with or without comments) or YAML. The places of its parts come from its tokens; the text between
them is never written anew. Every change is verified: the new text must read as the old document with this one change,
or it is refused. Variables in a dotenv file are set in the same manner.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import yaml

from utcp_bridge.dialects.documents import Form, parse_document, write_document
from utcp_bridge.errors import ConfigError, ManualError
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = [
    "NEW_CONFIGURATION",
    "entry_text",
    "names_of_entries",
    "with_entry",
    "with_names",
    "with_variables",
    "without_entry",
]

_LISTS: Final = ("manual_call_templates", "providers")
"""The keys of a configuration that hold its entries."""
_TOKEN: Final = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)|//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+(?:\*/|\Z)|[{}\[\]:,]|[^\s"{}\[\]:,]++',
    re.DOTALL,
)
_BEHIND: Final = {
    "json": re.compile(r"[ \t]*+(?:,|//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)"),
    "yaml": re.compile(r"[ \t]*+(?:,|#[^\n]*+)"),
}
"""What may follow a member of a list in brackets on its line: its comma, and a comment."""
_BY_HAND: Final = "Change the file in an editor."
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNQUOTED: Final = re.compile(r"[A-Za-z0-9_./:@%+,=~-]+")
_PLAIN_WORD: Final = re.compile(r"[A-Za-z_][\w./-]*", re.ASCII)
NEW_CONFIGURATION: Final = (
    "# Tools for utcp-bridge. `utcp-bridge help configuration` explains every key,\n"
    "# `utcp-bridge help settings` every setting of `bridge`.\n\n"
    "manual_call_templates: []\n"
)
"""The text of a configuration without entries."""


@dataclass(slots=True)
class _Part:
    """A part of a document and its place in the text. `flow`: it is written in brackets."""

    kind: Literal["map", "list", "scalar"]
    start: int
    end: int
    flow: bool = True
    keys: list[_Part] = field(default_factory=list["_Part"])
    """The keys of a map, in the order of `members`."""
    members: list[_Part] = field(default_factory=list["_Part"])
    text: str = ""

    def member(self, key: str) -> _Part | None:
        """Return the value of a key of a map."""
        found = (value for name, value in zip(self.keys, self.members, strict=True) if name.text == key)
        return next(found, None) if self.kind == "map" else None


_Event: TypeAlias = tuple[Literal["map", "list", "end", "scalar"], int, int, bool, str]


def with_entry(text: str, entry: JsonObject, *, comment: str = "", where: str) -> str:
    """Return the text of a configuration with one more entry at its end. `comment` is written above it, in YAML.

    :raises ConfigError: the text cannot be read, or the entry has no place in it.
    """
    text, style = _plain(text)
    document = _parsed(text, where)
    form = _form_of(text)
    if document is None or (document == {} and not text.strip().strip("{}")):
        return style.applied(write_document({"manual_call_templates": [entry]}, form))
    key = _key_of(document, where)
    expected = [*document, entry] if key == "" else {**document, key: [*(document.get(key) or ()), entry]}
    root = _tree(text, form)
    entries = root if key == "" else root.member(key)
    if entries is None:
        changed = _with_key(text, root, key, entry, comment)
    elif entries.kind == "list" and (entries.flow or not entries.members):
        changed = _in_brackets(text, entries, entry, form, comment)
    else:
        changed = _in_block(text, entries, entry, comment)
    return style.applied(_verified(changed, expected, where))


def without_entry(text: str, name: str, *, where: str) -> str | None:
    """Return the text of a configuration without the entry of this name; None if it has no such entry.

    Comments directly above an entry and deeper ones below it go with it.

    :raises ConfigError: the text cannot be read, or cannot be changed safely.
    """
    text, style = _plain(text)
    found = _entry_at(text, name, where)
    if found is None:
        return None
    del found.entries[found.number]
    part, number = found.part, found.number
    changed = _cut_from_brackets(text, part, number) if part.flow else _cut_from_block(text, part, number)
    return style.applied(_verified(changed, found.document, where))


def with_names(
    text: str,
    entry: str,
    key: tuple[str, str],
    *,
    add: Sequence[str] = (),
    remove: Collection[str] = (),
    where: str,
) -> str | None:
    """Return the text of a configuration with names added to a list of an entry, and others removed from it.

    `key` is the path to the list: a key of the entry that has an object, and a key of this object. A list that is
    missing is added, and one that has no name left is removed. None if the configuration has no such entry.

    :raises ConfigError: the text cannot be read, the entry does not have the object, or it cannot be changed safely.
    """
    text, style = _plain(text)
    if _entry_at(text, entry, where) is None:
        return None
    for name in remove:
        while (changed := _with_change(text, entry, key, (name, False), where)) != text:
            text = changed
    for name in add:
        text = _with_change(text, entry, key, (name, True), where)
    return style.applied(text)


def _with_change(text: str, entry: str, key: tuple[str, str], change: tuple[str, bool], where: str) -> str:
    """Return the text with one name added (`change` ends with True) or removed once; as it is if that is so already."""
    found = _entry_at(text, entry, where)
    content: JsonObject = {} if found is None else found.entries[found.number]
    part = None if found is None else found.part.members[found.number].member(key[0])
    inner = content.get(key[0])
    if found is None or part is None or not is_object(inner) or part.kind != "map" or not part.members:
        raise ConfigError(f"`{key[0]}` of the entry {entry!r} in {where} must be an object.", remedy=_BY_HAND)
    names = inner.get(key[1], [])
    if not is_list(names):
        raise ConfigError(f"`{key[0]}.{key[1]}` of the entry {entry!r} in {where} must be a list.", remedy=_BY_HAND)
    name, is_added = change
    if (name in names) is is_added:
        return text
    if is_added:
        changed = _with_name(text, part, key[1], name)
        inner[key[1]] = [*names, name]
    else:
        changed = _without_name(text, part, key[1], names.index(name))
        del names[names.index(name)]
        if not names:
            del inner[key[1]]
    return _verified(changed, found.document, where)


@dataclass(slots=True)
class _EntryPlace:
    """An entry in a parsed document, and the list of entries in its text."""

    document: Any = field(repr=False)
    entries: list[Any] = field(repr=False)
    number: int
    part: _Part


def _entry_at(text: str, name: str, where: str) -> _EntryPlace | None:
    """Return where an entry is; None if the document has no such entry.

    :raises ConfigError: the text cannot be read, or its place is not certain.
    """
    document = _parsed(text, where)
    content: JsonObject = document if is_object(document) else {"": document}
    key = next((key for key in ("", *_LISTS) if is_list(content.get(key))), None)
    entries: list[Any] = [] if key is None else content[key]
    number = next((at for at, one in enumerate(entries) if is_object(one) and one.get("name") == name), None)
    if number is None:
        return None
    root = _tree(text, _form_of(text))
    part = root.member(key) if key else root
    if part is None or part.kind != "list" or len(part.members) != len(entries):
        raise ConfigError(f"{where} cannot be changed safely.", remedy=_BY_HAND)
    return _EntryPlace(document, entries, number, part)


def names_of_entries(text: str, *, where: str) -> list[str]:
    """Return the names of the entries of a configuration, in their order.

    :raises ConfigError: the text cannot be read.
    """
    document = _parsed(_plain(text)[0], where)
    entries = document if is_list(document) else ()
    if is_object(document):
        entries = next((found for key in _LISTS if is_list(found := document.get(key))), ())
    return [str(one["name"]) for one in entries if is_object(one) and one.get("name")]


def entry_text(entry: Mapping[str, Any], indent: str = "  ") -> str:
    """Return an entry as an item of a block list in YAML, with a line break at its end."""
    lines = write_document(dict(entry), "yaml").splitlines()
    return "".join(f"{indent}{'- ' if number == 0 else '  '}{line}\n" for number, line in enumerate(lines))


def with_variables(text: str, values: Mapping[str, str], *, where: str) -> str:
    """Return the text of a dotenv file with these values. Other lines stay as they are.

    :raises ConfigError: a name or a value cannot be written into a dotenv file. The message does not repeat the value.
    """
    lines = text.splitlines()
    for name, value in values.items():
        if not _NAME.fullmatch(name) or not value.isprintable() or "${" in value:
            raise ConfigError(
                f"The value of {name} cannot be written into {where}.",
                remedy="A value is one line of text without ${. Set the variable in the environment.",
            )
        plain = value if _UNQUOTED.fullmatch(value) else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        places = [number for number, line in enumerate(lines) if _variable_of(line) == name]
        for number in reversed(places[:-1]):
            del lines[number]
        at = places[-1] - len(places) + 1 if places else len(lines)
        lines[at : at + 1] = [f"{name}={plain}"]
    return "".join(f"{line}\n" for line in lines)


def _variable_of(line: str) -> str:
    """Return the variable that a line of a dotenv file sets, or another text."""
    first, *rest = line.partition("=")[0].split() or [""]
    return rest[0] if first == "export" and rest else first


# --- the document --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Style:
    """How a text begins and ends its lines. It is changed in its plain form."""

    mark: str
    newline: str

    def applied(self, text: str) -> str:
        return self.mark + text.replace("\n", self.newline)


def _plain(text: str) -> tuple[str, _Style]:
    """Return the text without a byte order mark and with plain line breaks, and how to restore both."""
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    text = text.removeprefix("\ufeff")
    newline = "\r\n" if "\r\n" in text and not re.search(r"(?<!\r)\n", text) else "\n"
    return text.replace(newline, "\n"), _Style(mark, newline)


def _form_of(text: str) -> Form:
    return "json" if text.lstrip("\ufeff \t\r\n")[:1] in {"{", "[", "/"} else "yaml"


def _parsed(text: str, where: str) -> Any:
    lines = (line.strip() for line in text.splitlines())
    if all(not line or line.startswith("#") for line in lines):
        return None
    try:
        return parse_document(text, jsonc=_form_of(text) == "json", where=where)
    except ManualError as error:
        raise ConfigError(error.message, remedy="Correct the file first. Nothing was changed.") from None


def _key_of(document: Any, where: str) -> str:
    """Return the key of the list of entries; an empty text if the document is that list."""
    if is_list(document):
        return ""
    if not is_object(document) or any(is_object(document.get(key)) for key in (*_LISTS, "mcpServers")):
        raise ConfigError(f"{where} has no list of entries.", remedy=_BY_HAND)
    if "tools" in document or "openapi" in document or "swagger" in document or "call_template_type" in document:
        raise ConfigError(
            f"{where} is one manual instead of a configuration.",
            remedy="Name another file with -c. It is made if it does not exist.",
        )
    return next((key for key in _LISTS if is_list(document.get(key))), _LISTS[0])


def _verified(text: str, expected: Any, where: str) -> str:
    try:
        changed = _parsed(text, where)
    except ConfigError:
        changed = None
    if changed != expected:
        raise ConfigError(f"{where} cannot be changed safely, so it stays as it is.", remedy=_BY_HAND)
    return text


# --- places --------------------------------------------------------------------------------------


def _tree(text: str, form: Form) -> _Part:
    """Return the document as parts. The text was parsed before, so its events fit together."""
    root = _Part("list", 0, len(text))
    stack: list[_Part] = [root]
    for kind, start, end, flow, value in _json_events(text) if form == "json" else _yaml_events(text):
        if kind == "end":
            done = stack.pop()
            done.end = end if done.flow else _end_of(done)
            continue
        part = _Part(kind, start, end, flow, text=value)
        top = stack[-1]
        (top.keys if top.kind == "map" and len(top.keys) == len(top.members) else top.members).append(part)
        if kind != "scalar":
            stack.append(part)
    return root.members[0]


def _end_of(part: _Part) -> int:
    """Return the end of a block: that of its last member."""
    last = part.members[-1] if part.members else part
    return last.end


def _json_events(text: str) -> Iterator[_Event]:
    for match in _TOKEN.finditer(text):
        found, start, end = match[0], match.start(), match.end()
        if found in "{[":
            yield "map" if found == "{" else "list", start, end, True, ""
        elif found in "}]":
            yield "end", start, end, True, ""
        elif found not in ":," and not found.startswith(("//", "/*")):
            yield "scalar", start, end, True, str(json.loads(found)) if found.startswith('"') else found


def _yaml_events(text: str) -> Iterator[_Event]:
    events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
    for event in events:
        start, end = event.start_mark.index, event.end_mark.index
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            yield "map" if isinstance(event, yaml.MappingStartEvent) else "list", start, end, bool(event.flow_style), ""
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            yield "end", start, end, True, ""
        elif isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
            yield "scalar", start, end, True, str(event.value) if isinstance(event, yaml.ScalarEvent) else ""


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _line_end(text: str, at: int) -> int:
    """Return the place behind the line break of the line that `at` is in, or ends."""
    if at and text[at - 1] == "\n":
        return at
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def _blank_before(text: str, at: int) -> str:
    return text[_line_start(text, at) : at]


# --- changes in brackets -------------------------------------------------------------------------


def _in_brackets(text: str, entries: _Part, entry: JsonObject, form: Form, comment: str) -> str:
    """Return the text with one more member in a list in brackets, or in place of an empty one."""
    if form == "yaml" and not entries.members:  # `[]` becomes a block
        line = _blank_before(text, entries.start)
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        written = _commented(comment, indent) + entry_text(entry, indent)
        end = _line_end(text, entries.end)
        rest = text[entries.end : end].rstrip()
        return f"{text[: entries.start].rstrip(' ')}{rest}\n{written}{text[end:]}"
    return _with_member(text, entries, json.dumps(entry, ensure_ascii=False, indent=2), is_json=form == "json")


def _with_member(text: str, part: _Part, written: str, *, is_json: bool) -> str:
    """Return the text with `written` as the last member of a map or list in brackets."""
    if not part.members:
        outer = re.match(r"[ \t]*", _blank_before(text, part.start))
        base = outer[0] if outer else ""
        unit = "\t" if "\t" in base or "\n\t" in text else "  "
        body = _indented(written, base + unit, unit)
        return f"{text[: part.start + 1]}\n{base}{unit}{body}\n{base}{text[part.end - 1 :]}"
    first = (part.keys or part.members)[0]
    last = part.members[-1]
    blank = _blank_before(text, first.start)
    at, has_comma = _behind_comma(text, last.end, part.end - 1, is_json=is_json)
    comma = "" if has_comma else ","
    if blank.strip():  # members on one line
        inline = json.dumps(json.loads(written), ensure_ascii=False) if written[0] == "{" else written
        place = at if has_comma else last.end
        return f"{text[:place]}{comma} {inline}{text[place:]}"
    body = _indented(written, blank, "\t" if "\t" in blank else "  ")
    return f"{text[: last.end]}{comma}{text[last.end : at]}\n{blank}{body}{text[at:]}"


def _behind_comma(text: str, start: int, end: int, *, is_json: bool) -> tuple[int, bool]:
    """Return where the last member ends, with its comma and the comment on its line, and whether it has a comma."""
    at, has_comma = start, False
    marks = _BEHIND["json" if is_json else "yaml"]
    while (match := marks.match(text, at, end)) is not None:
        has_comma = has_comma or match[0].strip() == ","
        at = match.end()
    rest = text[at:end].lstrip()
    if not has_comma and rest.startswith(","):
        return end - len(rest) + 1, True
    return at, has_comma


def _indented(written: str, indent: str, unit: str) -> str:
    lines = written.split("\n")
    inner = [re.sub(r"^(?:  )+", lambda blanks: unit * (len(blanks[0]) // 2), line) for line in lines]
    return "\n".join(line if number == 0 else indent + line for number, line in enumerate(inner))


def _cut_from_brackets(text: str, part: _Part, number: int) -> str:
    members = part.members
    if number + 1 < len(members):
        return text[: members[number].start] + text[members[number + 1].start :]
    if number == 0:
        return text[: part.start + 1] + text[part.end - 1 :]
    before, after = members[number - 1].end, members[number].end
    remark = text[before : members[number].start].partition("\n")[0].lstrip(" \t").removeprefix(",").rstrip()
    if not remark:
        return text[:before] + text[after:]
    rest = text[after:]
    return text[:before] + remark + (rest.lstrip()[1:] if rest.lstrip().startswith(",") else rest)


# --- names in a list of an entry -----------------------------------------------------------------


def _with_name(text: str, part: _Part, key: str, name: str) -> str:
    """Return the text with a name at the end of the list at a key of an object, which is added if it is missing."""
    is_json = _form_of(text) == "json"
    written, listed = _scalar(name, is_json=is_json), part.member(key)
    member = f"{_scalar(key, is_json=is_json)}: [{written}]"
    if listed is None and part.flow:
        return _with_member(text, part, member, is_json=is_json)
    if listed is None:
        return _with_line(text, part.members[-1], _blank_before(text, part.keys[-1].start), member)
    if not listed.flow:
        indent = _blank_before(text, _dash(text, listed.members[-1]))
        return _with_line(text, listed.members[-1], indent, f"- {written}")
    if not listed.members:
        return f"{text[: listed.start]}[{written}]{text[listed.end :]}"
    return _with_member(text, listed, written, is_json=is_json)


def _with_line(text: str, above: _Part, indent: str, line: str) -> str:
    """Return the text with a line below a member of a block and its comments."""
    at = _end_with_comments(text, above, len(indent))
    break_ = "" if text[:at].endswith("\n") else "\n"
    return f"{text[:at]}{break_}{' ' * len(indent)}{line}\n{text[at:]}"


def _without_name(text: str, part: _Part, key: str, number: int) -> str:
    """Return the text without one item of the list at a key of an object; without the key if it has no other item."""
    at = [label.text for label in part.keys].index(key)
    listed = part.members[at]
    if len(listed.members) > 1:
        return (_cut_from_brackets if listed.flow else _cut_from_block)(text, listed, number)
    if part.flow:
        spans = [_Part("map", label.start, value.end) for label, value in zip(part.keys, part.members, strict=True)]
        return _cut_from_brackets(text, _Part("list", part.start, part.end, members=spans), at)
    start = _line_start(text, part.keys[at].start)
    return text[:start] + text[_line_end(text, listed.end) :]


def _scalar(name: str, *, is_json: bool) -> str:
    """Return a name as JSON or YAML writes it; in YAML without quotes if it stays the same text."""
    if not is_json and _PLAIN_WORD.fullmatch(name) and yaml.safe_load(name) == name:
        return name
    return json.dumps(name, ensure_ascii=False)


# --- changes in blocks (YAML) --------------------------------------------------------------------


def _with_key(text: str, root: _Part, key: str, entry: JsonObject, comment: str) -> str:
    """Return the text with a new key that holds the entry."""
    if root.flow:
        written = json.dumps({key: [entry]}, ensure_ascii=False, indent=2)
        inner = re.sub(r"(?m)^  ", "", written[2:-2])
        return _with_member(text, root, inner, is_json=True)
    body = text if text.endswith("\n") else f"{text}\n"
    return f"{body}\n{key}:\n{_commented(comment, '  ')}{entry_text(entry)}"


def _commented(comment: str, indent: str) -> str:
    return f"{indent}# {comment}\n" if comment else ""


def _in_block(text: str, entries: _Part, entry: JsonObject, comment: str) -> str:
    if not entries.members:  # the key has no value
        at = _line_end(text, entries.start)
        break_ = "" if text[:at].endswith("\n") else "\n"
        return f"{text[:at]}{break_}{_commented(comment, '  ')}{entry_text(entry)}{text[at:]}"
    indent = " " * (_dash(text, entries.members[0]) - _line_start(text, entries.members[0].start))
    at = _end_with_comments(text, entries.members[-1], len(indent))
    break_ = "" if text[:at].endswith("\n") else "\n"
    return f"{text[:at]}{break_}{_commented(comment, indent)}{entry_text(entry, indent)}{text[at:]}"


def _dash(text: str, member: _Part) -> int:
    """Return the place of the dash in front of a member."""
    return text.rfind("-", 0, member.start)


def _end_with_comments(text: str, member: _Part, indent: int) -> int:
    """Return the place behind a member and the comments below it that are deeper than its dash."""
    at = _line_end(text, member.end)
    end = at
    while at < len(text):
        line = text[at : _line_end(text, at + 1)]
        stripped = line.strip()
        if stripped and not (stripped.startswith("#") and len(line) - len(line.lstrip(" ")) > indent):
            break
        at += len(line)
        end = at if stripped else end
    return end


def _cut_from_block(text: str, part: _Part, number: int) -> str:
    member = part.members[number]
    dash = _dash(text, member)
    start = _line_start(text, dash)
    indent = dash - start
    while start and (above := text[_line_start(text, start - 1) : start]).lstrip(" ").startswith("#"):
        if len(above) - len(above.lstrip(" ")) != indent:
            break
        start -= len(above)
    end = _end_with_comments(text, member, indent)
    if len(part.members) > 1:
        return text[:start] + text[end:]
    above = text[:start].rstrip()
    key, sign, comment = above[_line_start(above, len(above)) :].partition(" #")
    head = above[: _line_start(above, len(above))] + key.rstrip()
    return f"{head}{' ' if key.strip() else ''}[]{f' {sign}{comment}' if sign else ''}\n{text[end:]}"
