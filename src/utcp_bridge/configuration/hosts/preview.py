"""Changes of a file for people: a unified diff in which what is or may be secret is masked.

Entries of servers are masked by their places. Every other line is masked by its keys, and by the credentials that are
anywhere in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Any, Final

import orjson

from utcp_bridge.auth.literals import without_literals
from utcp_bridge.configuration.hosts.editing import edit, form_of, parse_text
from utcp_bridge.configuration.hosts.hiding import SECRET_PLACES, hidden, names_secret
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.variables import names_credential

__all__ = ["MASK", "masked", "masked_line", "preview"]

MASK: Final = "***"
_MIN_SECRET: Final = 6
"""Characters from which a credential is masked wherever it occurs. Shorter ones are parts of other words."""
_LINE: Final = re.compile(
    r"""^(?P<before>[-+ ]?\s{0,200}+(?:- {1,20})?(?P<quote>["']?)(?P<name>[\w.-]{1,100})(?P=quote)"""
    r"""\s{0,20}[:=]\s{0,200}+)(?P<value>[^\s{\["'].*|(?:'{3}|"{3}).*)"""
)
_FLOW: Final = re.compile(r"""(?P<before>[{,]\s*(?P<name>[\w.-]{1,100}):\s+)(?P<value>[^\s"'{}\[\],][^{}\[\],]*)""")
"""A member of an object of YAML in braces, without quotes."""
_PAIR: Final = re.compile(
    r"""(?P<before>(?P<quote>["']?)(?P<name>[\w.-]{1,100})(?P=quote)"""
    r"""\s{0,20}[:=]\s{0,200}+)(?P<value>"(?!"")(?:[^"\\]|\\.)*"|'(?!'')[^']*')"""
)
_KEPT: Final = re.compile(
    r"\$\{\{[^{}]*\}\}|\$\{[\w:.]+\}|\{(?:env|file):[^{}]*\}|\b(?:Bearer|Basic|Token|ApiKey) +(?=[$*])|\*\*\*",
    re.IGNORECASE,
)
_NOT_SECRET: Final = ("true", "false", "null")


def preview(path: Path, before: str, after: str, key: Sequence[str]) -> list[str]:
    """Return the lines of a diff between two texts of a file whose entries are at `key`.

    :raises ConfigError: a text cannot be parsed.
    """
    form = form_of(path)
    texts: list[list[str]] = []
    learned = set[str]()
    for text in (before, after):
        content = parse_text(text, form, where=str(path))
        entries = _entries(content, key)
        learned |= {*_credentials(content, ""), *_of_entries(entries.values())}
        changes = {name: masked(entry) for name, entry in entries.items()}
        texts.append(edit(text, form, key, changes, where=str(path)).splitlines())
    forms = sorted({form for one in learned for form in _forms(one)}, key=len, reverse=True)
    lines = [*unified_diff(texts[0], texts[1], str(path), f"{path} (new)", lineterm="")]
    return [*lines[:2], *(_without(masked_line(line), forms) for line in lines[2:])]


def _entries(content: JsonObject, key: Sequence[str]) -> dict[str, JsonObject]:
    found: Any = content
    for step in key:
        found = found.get(step) if is_object(found) else None
    if is_list(found):
        return {str(one.get("name")): one for one in found if is_object(one)}
    return {name: one for name, one in found.items() if is_object(one)} if is_object(found) else {}


def _credentials(value: Any, name: str) -> Iterator[str]:
    """Yield the texts of a file whose keys name a credential, and defaults of passwords."""
    if is_object(value):
        if value.get("password") is True and isinstance(value.get("default"), str):
            yield value["default"]
        for key, one in value.items():
            yield from _credentials(one, str(key))
    elif is_list(value):
        for one in value:
            yield from _credentials(one, name.removesuffix("s"))
    elif isinstance(value, str) and names_credential(name) and not _is_variable(value):
        yield value


def _of_entries(entries: Iterable[JsonObject]) -> Iterator[str]:
    found: list[str] = []

    def keep(name: str, value: str) -> str:
        if names_secret(name):
            found.append(value)
        return value

    for entry in entries:
        hidden(entry, keep, keep)
    yield from found


def _forms(secret: str) -> Iterator[str]:
    """Yield how a credential looks in a file: each of its lines, as it is and as JSON writes it."""
    for line in secret.splitlines():
        if len(line.strip()) >= _MIN_SECRET:
            yield line.strip()
            yield orjson.dumps(line.strip().encode(errors="replace").decode()).decode()[1:-1]


def _without(line: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        line = line.replace(secret, MASK)
    return line


def masked(entry: Any) -> Any:
    """Return an entry for people: what is or may be secret is replaced by `***`, place by place."""
    if is_list(entry):
        return [masked(one) for one in entry]
    if not is_object(entry):
        return entry
    shown = hidden(entry, lambda _name, _value: MASK, lambda _name, _value: MASK)
    return {
        key: masked(value) if key not in SECRET_PLACES and is_object(value) else value for key, value in shown.items()
    }


def masked_line(line: str) -> str:
    """Return a line of a file for people: each value is replaced by `***` if its key names a credential."""
    line = _FLOW.sub(_masked_pair, _PAIR.sub(_masked_pair, line))
    found = _LINE.search(line)
    if found is None or not names_credential(found["name"]) or _is_variable(found["value"].strip("\"', ")):
        return str(without_literals({"line": line}, lambda _name, _value: MASK)["line"])
    if found["value"].startswith(_NOT_SECRET):
        return line
    end = "," if found["value"].rstrip().endswith(",") else ""
    return f'{found["before"]}"{MASK}"{end}'


def _masked_pair(found: re.Match[str]) -> str:
    if not names_credential(found["name"]) or _is_variable(found["value"].strip("\"' ")):
        return found[0]
    return f'{found["before"]}"{MASK}"'


def _is_variable(value: str) -> bool:
    """Return whether a value has nothing but variables and what is masked already."""
    return not _KEPT.sub("", value).strip()
