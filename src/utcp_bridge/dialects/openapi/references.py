"""`$ref`: JSON pointers within a document and into the files that the caller fetched (pure).

Resolving never raises and never loops: a reference that cannot be resolved is None and a fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote, urljoin

import orjson

from utcp_bridge.dialects.openapi.shapes import Faults, Located, as_object, child, is_array
from utcp_bridge.model import JsonObject, is_object

__all__ = ["References", "external_references"]

_AS_JSON: Final = orjson.OPT_NON_STR_KEYS
_MAX_CHAIN = 32
_MISSING: Any = object()
_MAPS = frozenset({
    "properties", "patternProperties", "dependentSchemas", "$defs", "definitions", "schemas", "headers", "parameters",
    "responses", "requestBodies", "pathItems", "callbacks", "links", "content", "encoding", "variables", "mediaTypes",
})  # fmt: skip
"""Keywords whose values have names as keys."""
_DATA_KEYS = frozenset({"example", "examples", "default", "enum", "const", "x-examples", "x-ms-examples"})


def external_references(document: JsonObject, url: str | None) -> list[str]:
    """Return the absolute addresses (URLs or file paths) of the other documents that the `$ref`s name, in order.

    The caller decides which of them may be fetched. Fetched documents can have references of their own.
    """
    base = url or ""
    found: dict[str, None] = {}
    for reference in _reference_texts(document):
        if _bare_name(document, base, reference) is not None:
            continue
        address = _address(reference, base)
        if address and address != _without_fragment(base):
            found.setdefault(address)
    return list(found)


def _reference_texts(document: Any) -> Iterator[str]:
    """Yield the references to other documents. Those in samples and in extensions, such as code, are not read.

    Where the keys are names of the document's author, and at its root, where parts that others refer to may stand, a
    key that starts with `x-` is not an extension.
    """
    waiting: list[tuple[Any, bool]] = [(document, True)]
    while waiting:
        value, has_names = waiting.pop()
        if is_object(value):
            reference = value.get("$ref")
            if isinstance(reference, str) and not reference.startswith("#"):
                yield reference
            waiting.extend(
                (member, key in _MAPS)
                for key, member in reversed(value.items())
                if key not in _DATA_KEYS and (has_names or not str(key).startswith("x-"))
            )
        elif is_array(value):
            waiting.extend((member, False) for member in reversed(value))


def _without_fragment(address: str) -> str:
    return address.partition("#")[0]


def _address(reference: str, base: str) -> str:
    try:
        return _without_fragment(urljoin(base, reference))
    except ValueError:
        return ""


class References:
    """The references of one root document and of the `files` around it; each is resolved once.

    A file that could not be read is None in `files`: a reference into it has the value None, and is not a fault again.
    """

    def __init__(self, document: JsonObject, url: str | None, files: Mapping[str, Any], faults: Faults) -> None:
        self.base = _without_fragment(str(document.get("$self") or url or ""))
        self._documents: dict[str, Any] = {**files, self.base: document, _without_fragment(url or ""): document}
        self._faults = faults
        self._cache: dict[tuple[str, str], Located | None] = {}
        self._anchors: dict[str, dict[str, Located]] = {}
        self._templates: dict[str, set[str]] = {}
        self._identified: dict[str, Located] | None = None

    def root(self) -> Located:
        return Located(self._documents[self.base], self.base, "#")

    def resolve(self, reference: str, base: str, where: str) -> Located | None:
        """Return the place that `reference`, found in document `base`, names; its value may be a `$ref` again.

        `where` is the pointer of the reference, for the fault.
        """
        key = (base, reference)
        if key not in self._cache:
            self._cache[key] = self._find(reference, base)
        found = self._cache[key]
        if found is None:
            self._faults.add(where, f"reference {reference!r} cannot be resolved", "Any value is accepted there.")
        return found

    def mentions(self, text: bytes) -> bool:
        """Return whether a text is in the JSON of the document or of a file that it refers to."""
        try:
            return any(text in orjson.dumps(one, None, _AS_JSON) for one in self._documents.values())
        except TypeError:
            return True  # a value that YAML alone has

    def follow(self, located: Located) -> Located:
        """Return the end of a chain of `$ref`s; its value is None if the chain is broken or circular."""
        for _ in range(_MAX_CHAIN):
            reference = child(located.value, "$ref")
            if not isinstance(reference, str):
                return located
            target = self.resolve(reference, located.base, located.pointer)
            if target is None:
                return Located(None, located.base, located.pointer)
            located = target
        self._faults.add(located.pointer, "the references are circular")
        return Located(None, located.base, located.pointer)

    def _find(self, reference: str, base: str) -> Located | None:
        address, _, fragment = reference.partition("#")
        target = _address(address, base) if address else base
        if target not in self._documents:
            return self._with_id(target, unquote(fragment)) or _bare_name(self._documents.get(base), base, reference)
        if self._documents[target] is None:
            return Located(None, target, f"{self._file(target)}#")  # who could not read the file has said so
        if fragment and not fragment.startswith("/"):
            return self._anchored(target, unquote(fragment))
        return self._pointed(target, unquote(fragment))

    def _pointed(self, base: str, pointer: str) -> Located | None:
        """Return the value at a JSON pointer; null counts as missing."""
        value: Any = self._documents[base]
        for token in pointer.split("/")[1:]:
            key = token.replace("~1", "/").replace("~0", "~")
            value = value.get(key, _MISSING) if is_object(value) else child(value, key)
            if value is _MISSING or value is None:
                return None
        return Located(value, base, f"{self._file(base)}#{pointer}")

    def _file(self, base: str) -> str:
        """Return the name of a file beside the document, which pointers into it begin with."""
        return "" if base == self.base else unquote(base.rsplit("/", 1)[-1])

    def _anchored(self, base: str, anchor: str) -> Located | None:
        if base not in self._anchors:
            self._anchors[base] = dict(_anchors(self._root_of(base)))
        return self._anchors[base].get(anchor)

    def is_open(self, reference: str, base: str) -> bool:
        """Return whether a `$dynamicRef` means another schema at each use: several have this dynamic anchor."""
        address, _, name = reference.partition("#")
        target = _address(address, base) if address else base
        if target not in self._templates:
            names = Counter(name for name, one in _anchors(self._root_of(target)) if "$dynamicAnchor" in one.value)
            self._templates[target] = {name for name, count in names.items() if count > 1}
        return name in self._templates[target]

    def _root_of(self, base: str) -> Located:
        return Located(self._documents.get(base), base, f"{self._file(base)}#")

    def _with_id(self, target: str, fragment: str) -> Located | None:
        """Return the schema, or a part of it, that names itself with `$id` (JSON Schema 2020-12, section 8.2.1)."""
        if self._identified is None:
            roots = [self._root_of(base) for base in self._documents]
            self._identified = {address: one for root in roots for address, one in _identified(root)}
        found = self._identified.get(target)
        if found is None or not fragment:
            return found
        if not fragment.startswith("/"):
            return dict(_anchors(found)).get(fragment)
        steps = (token.replace("~1", "/").replace("~0", "~") for token in fragment.split("/")[1:])
        part = found.at(*steps)
        return None if part.value is None else part


def _bare_name(document: Any, base: str, reference: str) -> Located | None:
    """Return the target of `$ref: Pet`, a form that old documents use."""
    for steps in (("components", "schemas"), ("definitions",)):
        found = Located(as_object(document), base, "#").at(*steps, reference)
        if found.value is not None:
            return found
    return None


def _anchors(root: Located) -> Iterator[tuple[str, Located]]:
    waiting = [root]
    while waiting:
        located = waiting.pop()
        if is_object(located.value):
            for keyword in ("$anchor", "$dynamicAnchor"):
                if isinstance(name := located.value.get(keyword), str):
                    yield name, located
            waiting.extend(located.at(key) for key in located.value if key not in _DATA_KEYS)
        elif is_array(located.value):
            waiting.extend(located.at(index) for index in range(len(located.value)))


def _identified(root: Located) -> Iterator[tuple[str, Located]]:
    """Yield the schemas with an `$id`, by their addresses, which are relative to those of the schemas around them."""
    waiting = [(root, root.base)]
    while waiting:
        located, base = waiting.pop()
        if is_object(located.value):
            if isinstance(name := located.value.get("$id"), str) and (address := _address(name, base)):
                base = address
                yield address, located
            waiting.extend((located.at(key), base) for key in located.value if key not in _DATA_KEYS)
        elif is_array(located.value):
            waiting.extend((located.at(index), base) for index in range(len(located.value)))
