"""Ported parts of schemas that several tools of a manual share, kept while a page of tools is made."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Generator, Sequence
from typing import Any, Final, TypeAlias

import orjson

from utcp_bridge.catalogue.schemas.filling import PreparedSchema
from utcp_bridge.catalogue.text import clean_schema
from utcp_bridge.foreign import is_clean_json
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.tasks import at_once

__all__ = ["Adopted", "RecentSchemas", "SharedPart", "SharedParts"]

Adopted: TypeAlias = tuple[str, str, Any]
"""A reference as written, the listed name of its definition, and the definition as written."""
_MAX_PARTS: Final = 50_000
_DIGEST_BYTES: Final = 16
_MAX_RECENT: Final = 64
_FREED: Final = 50
"""Parts that are freed in one step. Each may be thousands of objects."""


@dataclass(frozen=True, slots=True)
class SharedPart:
    """A ported sub-schema: where it comes from, the references that it needs, and what is to be checked in the end."""

    raw: JsonObject
    ported: JsonObject
    references: Sequence[Adopted]
    has_headers: bool
    has_shown: bool
    is_odd: bool


class SharedParts:
    """The parts of one manual's schemas, by the objects that they were made of. Each is kept with its object."""

    __slots__ = ("_by_content", "_clean", "_made", "_same", "prepared")

    def __init__(self) -> None:
        self._same: dict[int, tuple[Any, Any]] = {}
        self._by_content: dict[bytes, Any] = {}
        self._made: dict[tuple[int, int, bool], SharedPart] = {}
        self._clean: dict[int, Any] = {}
        self.prepared: dict[tuple[int, bool], PreparedSchema] = {}

    def find(self, raw: JsonObject, depth: int, *, is_output: bool) -> SharedPart | None:
        """Return what was made of an object at this depth."""
        return self._made.get((id(raw), depth, is_output))

    def keep(self, part: SharedPart, depth: int, *, is_output: bool) -> None:
        """Keep a part for the tools that come next."""
        if len(self._made) >= _MAX_PARTS:
            self.forget()
        self._made[id(part.raw), depth, is_output] = part

    def forget(self) -> None:
        """Forget every part."""
        at_once(self.forgotten())

    def forgotten(self) -> Generator[None, None, None]:
        """Forget every part, in steps: to free the parts of a large manual takes many milliseconds."""
        gone: list[dict[Any, Any]] = [self._made, self.prepared, self._same, self._by_content, self._clean]
        self._same, self._by_content, self._made, self._clean, self.prepared = {}, {}, {}, {}, {}
        for parts in gone:
            while parts:
                for _ in range(min(_FREED, len(parts))):
                    parts.popitem()
                yield

    def first(self, definition: Any) -> Any:
        """Return the first object with the content of a definition: of equal ones only this one is ported."""
        known = self._same.get(id(definition))
        if known is None:
            try:
                digest = hashlib.blake2b(orjson.dumps(definition), digest_size=_DIGEST_BYTES).digest()
            except (TypeError, ValueError):
                return definition
            known = self._same[id(definition)] = (definition, self._by_content.setdefault(digest, definition))
        return known[1]

    def cleaned(self, schema: JsonObject, *, is_output: bool = False) -> JsonObject:
        """Return what `clean_schema` returns. A definition is looked at once for all tools."""
        definitions = schema.get("$defs") if is_object(schema) else None
        if not is_object(definitions):
            return clean_schema(schema, is_output=is_output)
        rest = {key: value for key, value in schema.items() if key != "$defs"}
        if is_clean_json(rest) and all(self._is_clean(name, one) for name, one in definitions.items()):
            return schema
        return clean_schema(schema, is_output=is_output)

    def _is_clean(self, name: str, definition: Any) -> bool:
        if id(definition) in self._clean:
            return True
        if not is_clean_json({name: definition}):
            return False
        self._clean[id(definition)] = definition
        return True


class RecentSchemas:
    """Schemas as they are listed, by the schemas themselves: many tools of a manual can have one and the same.

    Reading a large document makes equal schemas one object. The last few are enough, because such tools come together.
    """

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[int, bool], tuple[JsonObject, Any]] = OrderedDict()

    def find(self, schema: JsonObject, *, is_output: bool) -> Any:
        """Return what was made of a schema, or None."""
        known = self._made.get((id(schema), is_output))
        return None if known is None else known[1]

    def keep(self, schema: JsonObject, made: Any, *, is_output: bool) -> None:
        """Keep what was made of a schema, and the schema, so that its identity stays its own."""
        self._made[id(schema), is_output] = schema, made
        if len(self._made) > _MAX_RECENT:
            self._made.popitem(last=False)
