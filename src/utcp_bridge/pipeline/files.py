"""Files: arguments that name local files are replaced by their content, and a result of bytes is written to a file.

Both are off unless the operator names folders (`file_roots`). A file is read only for an argument that the schema of
the tool declares as bytes: `contentEncoding`, `contentMediaType`, or the formats `binary`, `byte` and `base64`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, Protocol

from utcp_bridge.errors import InvalidArguments
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import (
    Binary,
    Call,
    ContentBlocks,
    Emit,
    JsonObject,
    Result,
    Tool,
    is_list,
    is_object,
    read_at_once,
)
from utcp_bridge.pipeline import Next
from utcp_bridge.pipeline.schema_checks import SchemaChecks
from utcp_bridge.pipeline.subschemas import SubSchema, SubSchemas

__all__ = ["OUTPUT_PATH", "FileAccess", "FileArguments", "OutputPath", "input_schema_of"]

OUTPUT_PATH: Final = "output_path"
_ABOUT: Final[JsonObject] = {
    "type": "string",
    "description": "Path of a file on this machine that receives the result, in place of returning its bytes.",
}
_HINT: Final = "May be the path of a file on this machine."
_FORMATS: Final = frozenset({"binary", "byte", "base64"})
_ENCODINGS: Final = frozenset({"base64", "base64url"})
_TEXT: Final = "text/plain; charset=utf-8"
_MAX_FACETS: Final = 100
_MAX_DEPTH: Final = 40


class FileAccess(Protocol):
    """The files that callers may name. See `net.files.local_file.FileRoots`."""

    max_bytes: int

    async def read(self, text: str, /) -> tuple[str, bytes] | None: ...
    async def check(self, text: str, /) -> None: ...
    async def write(self, text: str, data: bytes, /) -> str: ...


def input_schema_of(tool: Tool) -> JsonObject:
    """Return the tool's input schema as it is listed while callers may name files.

    Arguments of bytes say so. A tool whose results are bytes gets the argument `output_path`, unless it has one itself.
    """
    given = tool.inputs.get("properties")
    properties: JsonObject = given if is_object(given) else {}
    changed = {name: _with_hint(sub) for name, sub in properties.items() if is_object(sub) and _mentions_bytes(sub)}
    if tool.returns_bytes and OUTPUT_PATH not in properties:
        changed[OUTPUT_PATH] = _ABOUT
    return {**tool.inputs, "properties": {**properties, **changed}} if changed else tool.inputs


def _with_hint(schema: JsonObject) -> JsonObject:
    about = schema.get("description")
    return {**schema, "description": f"{about} {_HINT}" if isinstance(about, str) and about else _HINT}


@dataclass(frozen=True, slots=True)
class FileArguments:
    """The layer that reads files; it leaves itself out for tools without an argument of bytes."""

    files: FileAccess | None

    def __call__(self, tool: Tool, inner: Next) -> Next:
        files = self.files
        if files is None or not _mentions_bytes(tool.inputs):
            return inner
        checks = SchemaChecks(tool.inputs)

        async def filled(call: Call, emit: Emit) -> Result:
            form = checks.form_for(call.arguments) or checks.reduced
            parts = SubSchemas(form.schema, form.cost.size)
            filling = _Filling(files, parts)
            arguments = await filling.value(call.arguments, [parts.root], 0)
            return await inner(replace(call, arguments=arguments), emit)

        return filled


@dataclass(frozen=True, slots=True)
class OutputPath:
    """The layer that writes a result of bytes or text to the file that the argument `output_path` names.

    Results of other kinds, and errors, are returned as they are. Tools that have such an argument themselves get it.
    """

    files: FileAccess | None

    def __call__(self, tool: Tool, inner: Next) -> Next:
        files = self.files
        if files is None or _declares_output_path(tool):
            return inner

        async def written(call: Call, emit: Emit) -> Result:
            if OUTPUT_PATH not in call.arguments:
                return await inner(call, emit)
            arguments = dict(call.arguments)
            named = arguments.pop(OUTPUT_PATH)
            call = replace(call, arguments=arguments)
            if named is None:
                return await inner(call, emit)
            if not isinstance(named, str):
                raise InvalidArguments("`output_path` is not text.", remedy="Send the path of a file.")
            await files.check(named)
            with read_at_once():
                result = await inner(call, emit)
            found = _bytes_of(result.value)
            if found is None:
                return result
            path = await files.write(named, found.data)
            about = {"path": path, "bytes": len(found.data), "media_type": found.media_type}
            return replace(result, value=about)

        return written


class _Filling:
    """Replaces the names of files in the arguments of one call."""

    def __init__(self, files: FileAccess, parts: SubSchemas) -> None:
        self._files = files
        self._parts = parts
        self._read = 0

    async def value(self, value: Any, applying: list[SubSchema], depth: int) -> Any:
        """Return a value with the content of the files that it names where bytes are expected."""
        facets = self._facets(applying, value) if depth <= _MAX_DEPTH else []
        if isinstance(value, str):
            return await self._content(value, facets)
        if is_object(value) and facets:
            members = {
                key: await self.value(member, self._parts.members(facets, key), depth + 1)
                for key, member in value.items()
            }
            return members if any(members[key] is not value[key] for key in value) else value
        if not is_list(value) or not facets:
            return value
        items = [
            await self.value(item, self._parts.items(facets, position), depth + 1)
            for position, item in enumerate(value)
        ]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value

    async def _content(self, text: str, facets: list[SubSchema]) -> Any:
        expected = next((facet.schema for facet in facets if _is_bytes(facet.schema)), None)
        if expected is None or (found := await self._files.read(text)) is None:
            return text
        name, data = found
        self._read += len(data)
        if self._read > self._files.max_bytes:
            message = f"The files of this call have more than {self._files.max_bytes} bytes together."
            raise InvalidArguments(message, remedy="Send fewer or smaller files, or raise `max_file_bytes`.")
        content = _encoded(data, expected)
        if not any(_takes_name(facet.schema) for facet in facets):
            return content
        import mimetypes  # most calls need none

        media_type = mimetypes.guess_type(name)[0]
        return {"content": content, "filename": name} | ({"media_type": media_type} if media_type else {})

    def _facets(self, applying: Iterable[SubSchema], value: Any) -> list[SubSchema]:
        """Return the parts that apply to a value, with every branch of their unions."""
        found: dict[str, SubSchema] = {}
        pending = list(applying)
        while pending and len(found) < _MAX_FACETS:
            for facet in self._parts.facets(pending.pop(), value):
                if facet.pointer in found:
                    continue
                found[facet.pointer] = facet
                for keyword in ("anyOf", "oneOf"):
                    if is_list(branches := facet.schema.get(keyword)):
                        pending.extend(facet.at(keyword, index) for index in range(len(branches)))
        return list(found.values())


def _encoded(data: bytes, schema: JsonObject) -> str:
    """Return bytes as text: as they are if the schema gives a media type and no encoding, otherwise as Base64."""
    encoding = schema.get("contentEncoding")
    if encoding is None and schema.get("format") not in _FORMATS:
        try:
            return data.decode()
        except UnicodeDecodeError:
            pass
    return (base64.urlsafe_b64encode if encoding == "base64url" else base64.b64encode)(data).decode()


def _is_bytes(schema: JsonObject) -> bool:
    encoding, form, media_type = (schema.get(key) for key in ("contentEncoding", "format", "contentMediaType"))
    if isinstance(media_type, str) or (isinstance(encoding, str) and encoding in _ENCODINGS):
        return True
    return isinstance(form, str) and form in _FORMATS


def _takes_name(schema: JsonObject) -> bool:
    """Return whether a schema is the object form of a file upload, as tools of OpenAPI descriptions have it."""
    properties = schema.get("properties")
    return is_object(properties) and {"content", "filename", "media_type"} <= properties.keys()


def _mentions_bytes(schema: JsonObject) -> bool:
    pending: list[Any] = [schema]
    while pending:
        value = pending.pop()
        if is_object(value):
            if _is_bytes(value):
                return True
            pending.extend(value.values())
        elif is_list(value):
            pending.extend(value)
    return False


def _declares_output_path(tool: Tool) -> bool:
    properties = tool.inputs.get("properties")
    return is_object(properties) and OUTPUT_PATH in properties


def _bytes_of(value: Any) -> Binary | None:
    """Return what is written to a file: bytes, text, or the only block of a result if it is a resource or has bytes."""
    if isinstance(value, Binary):
        return value
    if isinstance(value, str):
        return Binary(value.encode(errors="replace"), _TEXT)
    if isinstance(value, ContentBlocks) and not value.is_error and len(value.content) == 1:
        return _bytes_of_block(value.content[0])
    return None


def _bytes_of_block(block: JsonObject) -> Binary | None:
    holder = block.get("resource") if block.get("type") == "resource" else block
    if not is_object(holder):
        return None
    media_type = holder.get("mimeType")
    encoded = holder.get("blob", holder.get("data"))
    if not isinstance(encoded, str):
        text = holder.get("text") if holder is not block else None
        return Binary(text.encode(errors="replace"), str(media_type or _TEXT)) if isinstance(text, str) else None
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        return None
    return Binary(data, str(media_type or "application/octet-stream"))
