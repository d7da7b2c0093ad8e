"""Reading the `resources` and `prompts` of an entry or of a manual, with the place of each fault (pure).

    resources:
      "docs://readme": {file: ./README.md, title: Read me, mimeType: text/markdown}
      "weather://{city}": {tool: current_weather, arguments: {city: "{city}"}, values: {city: [Berlin, Oslo]}}
    prompts:
      summary: {description: …, arguments: {city: {required: true, values: [Berlin]}}, text: "Sum up {city}."}

Both may also be lists, as MCP has them: of objects with `uri` or `uriTemplate`, and of objects with `name`.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Collection, Iterator
from dataclasses import field
from typing import Any, Final, TypeAlias

from utcp_bridge.dialects.fields import nearest, sort_of, word
from utcp_bridge.dialects.positions import Path
from utcp_bridge.dialects.v1 import MAP_KEYS
from utcp_bridge.foreign import visible, visible_json
from utcp_bridge.late.records import dataclass
from utcp_bridge.maps.patterns import UriPattern
from utcp_bridge.model import Fault, FaultCollector, JsonObject, is_list, is_object

__all__ = ["MapFaults", "MappedPrompt", "MappedResource", "Maps", "PromptMessage", "read_maps"]

Faults: TypeAlias = FaultCollector[Path, Any]
_SOURCES: Final = ("tool", "text", "blob", "file")
_RESOURCE_KEYS: Final = frozenset({
    *_SOURCES, "uri", "uriTemplate", "name", "title", "description", "mimeType", "mime_type", "size", "annotations",
    "arguments", "values",
})  # fmt: skip
_PROMPT_KEYS: Final = frozenset({"name", "title", "description", "arguments", "text", "messages", "file"})
_ARGUMENT_KEYS: Final = frozenset({"name", "title", "description", "required", "values"})
_MESSAGE_KEYS: Final = frozenset({"role", "text", "content", "file"})
_CONTENT_TYPES: Final = ("text", "image", "audio", "resource", "resource_link")
_ROLES: Final = ("user", "assistant")
_MAX_ENTRIES: Final = 1_000
_FREE_KEYS: Final = ("$", "_", "x-")
_SINGULAR: Final = {"resources": "resource", "prompts": "prompt"}


@dataclass(frozen=True, slots=True)
class MappedResource:
    """A resource: what hosts see of it, and where its contents come from (one of `tool`, `text`, `blob`, `file`)."""

    uri: str
    """The URI, or the URI template."""
    described: JsonObject
    """The wire-shaped `Resource` or `ResourceTemplate`."""
    pattern: UriPattern | None = None
    tool: str | None = None
    arguments: JsonObject | None = field(default=None, repr=False)
    """Arguments of the tool, with `{variables}`; None for all variables of the template, by their names."""
    text: str | None = field(default=None, repr=False)
    blob: str | None = field(default=None, repr=False)
    """Bytes in base64."""
    file: str | None = None
    is_confined: bool = False
    """Whether the file must be inside the folder of the configuration."""
    values: JsonObject = field(default_factory=dict[str, Any])
    """Values that complete a variable, by its name."""

    @property
    def media_type(self) -> str | None:
        """The media type that the map states."""
        found: str | None = self.described.get("mimeType")
        return found


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of a prompt: a content block with `{arguments}`, or a file."""

    role: str
    content: JsonObject | None = field(default=None, repr=False)
    file: str | None = None
    is_confined: bool = False
    """Whether the file must be inside the folder of the configuration."""


@dataclass(frozen=True, slots=True)
class MappedPrompt:
    """A prompt: what hosts see of it, and its messages."""

    name: str
    described: JsonObject
    """The wire-shaped `Prompt`."""
    messages: tuple[PromptMessage, ...]
    values: JsonObject = field(default_factory=dict[str, Any])

    @property
    def required(self) -> list[str]:
        """The names of the arguments that a host must send."""
        return [one["name"] for one in self.described.get("arguments", ()) if one.get("required")]


@dataclass(frozen=True, slots=True)
class Maps:
    """The resources and prompts of a manual, by URI or URI template, and by name."""

    resources: dict[str, MappedResource] = field(default_factory=dict[str, MappedResource])
    prompts: dict[str, MappedPrompt] = field(default_factory=dict[str, MappedPrompt])

    def __bool__(self) -> bool:
        return bool(self.resources or self.prompts)

    def with_tools(self, names: Collection[str], faults: Faults, *, path: Path = ()) -> Maps:
        """Return the maps without resources of tools that are not among `names`; these are faults."""
        lost = [one for one in self.resources.values() if one.tool is not None and one.tool not in names]
        for one in lost:
            remedy = nearest(one.tool, names) or "`utcp-bridge tools` lists the tools of the manual."
            faults.error((*path, "resources", one.uri, "tool"), f"the manual has no tool {word(one.tool)!r}.", remedy)
        gone = {one.uri for one in lost}
        return Maps({uri: one for uri, one in self.resources.items() if uri not in gone}, self.prompts)

    def files(self) -> Iterator[tuple[Path, str]]:
        """Yield the place and the path of each file whose path has no variables."""
        for resource in self.resources.values():
            if resource.file is not None and (resource.pattern is None or "{" not in resource.file):
                yield ("resources", resource.uri, "file"), resource.file
        for prompt in self.prompts.values():
            for message in prompt.messages:
                if message.file is not None:
                    yield ("prompts", prompt.name), message.file

    def over(self, others: Maps) -> Maps:
        """Return both: of two with the same key, the one of these maps."""
        return Maps({**others.resources, **self.resources}, {**others.prompts, **self.prompts})


class MapFaults(FaultCollector[Path, Fault]):
    """Collects the faults of one manual's maps, in words that name the manual, the part and the field."""

    def __init__(self, manual: str) -> None:
        super().__init__(
            lambda path, what, remedy, severity: Fault(
                ", ".join(_in_words(manual, path)), what, remedy, severity, "config" if severity == "error" else ""
            )
        )


def _in_words(manual: str, path: Path) -> Iterator[str]:
    yield f"manual {manual!r}"
    kind, *rest = path
    if not rest:
        yield f"`{kind}`"
        return
    yield f"{_SINGULAR.get(str(kind), kind)} {rest[0]!r}" if isinstance(rest[0], str) else f"`{kind}`, item {rest[0]}"
    if rest[1:]:
        yield "`" + ".".join(map(str, rest[1:])) + "`"


def read_maps(
    raw: JsonObject,
    faults: Faults,
    *,
    path: Path = (),
    files: bool = True,
    confined: bool = False,
    foreign: bool = False,
) -> Maps:
    """Return the maps of an entry or a manual document, `raw`. What cannot be used is a fault, and is left out.

    `path` leads to `raw`. `files` is whether the author may name local files, `confined` whether only those in the
    folder of the configuration. `foreign` texts lose the characters that people do not see.
    """
    maps = Maps()
    for key in sorted(MAP_KEYS):
        value = raw.get(key)
        if value is None:
            continue
        read = _MapReader(faults, files=files, confined=confined)
        for place, name, item in _items(visible_json(value) if foreign else value, (*path, key), faults):
            if key == "resources":
                read.resource(place, name, item, maps.resources)
            else:
                read.prompt(place, name, item, maps.prompts)
    return maps


def _items(value: Any, path: Path, faults: Faults) -> Iterator[tuple[Path, str, JsonObject]]:
    """Yield place, key and object of each member of a map, or of a list whose objects say it themselves."""
    is_prompt = path[-1] == "prompts"
    if is_object(value):
        pairs: list[tuple[str | int, Any]] = list(value.items())
    elif is_list(value):
        pairs = list(enumerate(value))
    else:
        faults.error(path, f"`{path[-1]}` must be an object, not {sort_of(value)}.")
        return
    if len(pairs) > _MAX_ENTRIES:
        faults.warn(path, f"it has {len(pairs):,} members; the bridge uses the first {_MAX_ENTRIES:,}.")
    for key, item in pairs[:_MAX_ENTRIES]:
        place = (*path, key)
        if not is_object(item):
            faults.error(place, f"it must be an object, not {sort_of(item)}.")
            continue
        name: Any = key
        if not isinstance(key, str):
            name = item.get("name") if is_prompt else item.get("uri") or item.get("uriTemplate")
        if isinstance(name, str) and name.strip():
            yield place, name, item
        else:
            faults.error(place, f"it has no {'`name`' if is_prompt else '`uri`'}.")


class _MapReader:
    """Reads the members of one map."""

    def __init__(self, faults: Faults, *, files: bool, confined: bool) -> None:
        self._faults = faults
        self._files = files
        self._confined = confined

    def resource(self, path: Path, uri: str, raw: JsonObject, into: dict[str, MappedResource]) -> None:
        """Add a resource, unless it has an error."""
        self._check_keys(raw, _RESOURCE_KEYS, path)
        is_uri, pattern = self._pattern(path, uri)
        source = self._source(path, raw)
        if not is_uri or source is None or not self._is_new(path, uri, into):
            return
        arguments = self._object(path, raw, "arguments")
        if arguments is not None and source != "tool":
            self._faults.warn((*path, "arguments"), "`arguments` has an effect with `tool` only.")
        name = raw.get("name")
        otherwise = raw["tool"] if source == "tool" else _name_of(uri)
        described = {"name": name if isinstance(name, str) and name else otherwise, **self._described(path, raw)}
        self._add_details(path, raw, described)
        if source == "file":
            import mimetypes  # most manuals map nothing

            if (guessed := mimetypes.guess_type(raw["file"])[0]) is not None:
                described.setdefault("mimeType", guessed)
        into[uri] = MappedResource(
            uri=uri,
            described={("uri" if pattern is None else "uriTemplate"): uri, **described},
            pattern=pattern,
            arguments=arguments,
            is_confined=self._confined,
            values=self._completions(path, raw, () if pattern is None else pattern.variables),
            **{source: raw[source]},
        )

    def prompt(self, path: Path, name: str, raw: JsonObject, into: dict[str, MappedPrompt]) -> None:
        """Add a prompt, unless it has an error."""
        self._check_keys(raw, _PROMPT_KEYS, path)
        messages = self._messages(path, raw)
        if messages is None or not self._is_new(path, name, into):
            return
        described: JsonObject = {"name": name, **self._described(path, raw)}
        arguments, values = self._arguments(path, raw.get("arguments"))
        if arguments:
            described["arguments"] = arguments
        into[name] = MappedPrompt(name, described, messages, values)

    # --- parts of a resource ---

    def _pattern(self, path: Path, uri: str) -> tuple[bool, UriPattern | None]:
        """Return whether it is a URI or a template that can be used, and the template."""
        scheme, separator, rest = uri.partition(":")
        if not separator or not rest or not scheme[:1].isalpha() or not _is_visible(uri):
            self._faults.error(
                path, f"{word(uri)!r} is not a URI.", "Write a scheme and a path, such as docs://readme."
            )
            return False, None
        if "{" not in uri and "}" not in uri:
            return True, None
        try:
            return True, UriPattern.parse(uri)
        except ValueError as error:
            self._faults.error(path, f"the URI template cannot be used: {error}")
            return False, None

    def _source(self, path: Path, raw: JsonObject) -> str | None:
        """Return the key that says where the contents come from."""
        given = [key for key in _SOURCES if raw.get(key) is not None]
        if len(given) != 1:
            what = (
                "nothing says what it contains." if not given else f"`{given[0]}` and `{given[1]}` exclude each other."
            )
            self._faults.error(path, what, "Write one of `tool`, `text`, `file` and `blob`.")
            return None
        [key] = given
        value = raw[key]
        if not isinstance(value, str) or (not value and key != "text"):
            self._faults.error((*path, key), f"`{key}` must be text, not {sort_of(value) if value else 'empty'}.")
            return None
        if key == "blob" and not _is_base64(value):
            self._faults.error((*path, key), "`blob` must be base64.", "For text, write `text`.")
            return None
        return key if key != "file" or self._may_read(path) else None

    def _add_details(self, path: Path, raw: JsonObject, described: JsonObject) -> None:
        media_type = raw.get("mimeType", raw.get("mime_type"))
        if isinstance(media_type, str) and "/" in media_type:
            described["mimeType"] = media_type
        elif media_type is not None:
            self._faults.warn((*path, "mimeType"), "`mimeType` must be a media type, such as text/markdown.")
        size = raw.get("size")
        if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
            described["size"] = size
        elif size is not None:
            self._faults.warn((*path, "size"), "`size` must be a number of bytes, so it is ignored.")
        annotations = self._object(path, raw, "annotations")
        if annotations:
            described["annotations"] = annotations

    # --- parts of a prompt ---

    def _messages(self, path: Path, raw: JsonObject) -> tuple[PromptMessage, ...] | None:
        given = [key for key in ("text", "messages", "file") if raw.get(key) is not None]
        if len(given) != 1:
            what = "it has no messages." if not given else f"`{given[0]}` and `{given[1]}` exclude each other."
            self._faults.error(path, what, "Write one of `text`, `messages` and `file`.")
            return None
        [key] = given
        if key != "messages":
            message = self._message(path, {"role": "user", key: raw[key]})
            return None if message is None else (message,)
        if not is_list(raw[key]) or not raw[key]:
            self._faults.error((*path, key), "`messages` must be a list with at least one message.")
            return None
        read = [self._message((*path, key, at), one) for at, one in enumerate(raw[key])]
        messages = tuple(one for one in read if one is not None)
        return messages if len(messages) == len(read) else None

    def _message(self, path: Path, raw: Any) -> PromptMessage | None:
        if isinstance(raw, str):
            raw = {"role": "user", "text": raw}
        if not is_object(raw):
            self._faults.error(path, f"a message must be an object, not {sort_of(raw)}.")
            return None
        self._check_keys(raw, _MESSAGE_KEYS, path)
        role = raw.get("role", "user")
        if role not in _ROLES:
            self._faults.error((*path, "role"), "`role` must be user or assistant.")
            return None
        file, content = raw.get("file"), raw.get("text", raw.get("content"))
        if isinstance(file, str) and file and content is None:
            return PromptMessage(role, file=file, is_confined=self._confined) if self._may_read(path) else None
        if isinstance(content, str) and file is None:
            return PromptMessage(role, {"type": "text", "text": content})
        if is_object(content) and content.get("type") in _CONTENT_TYPES and file is None:
            return PromptMessage(role, content)
        self._faults.error(
            path, "the message has no content.", "Write `text`, `file`, or a `content` block of MCP with its `type`."
        )
        return None

    def _arguments(self, path: Path, raw: Any) -> tuple[list[JsonObject], JsonObject]:
        """Return the wire-shaped arguments, and the values that complete each."""
        place = (*path, "arguments")
        if raw is None:
            return [], {}
        items: list[tuple[str | int, Any]] = list(raw.items()) if is_object(raw) else []
        if is_list(raw):
            items = list(enumerate({"name": one} if isinstance(one, str) else one for one in raw))
        elif not is_object(raw):
            self._faults.warn(place, f"`arguments` must be an object, not {sort_of(raw)}, so it is ignored.")
        arguments: dict[str, JsonObject] = {}
        values: JsonObject = {}
        for key, item in items:
            one: Any = {"description": item} if isinstance(item, str) else {} if item is None else item
            name = key if isinstance(key, str) else one.get("name") if is_object(one) else None
            if not is_object(one) or not isinstance(name, str) or not name:
                self._faults.warn((*place, key), "an argument must be an object with a name, so it is ignored.")
                continue
            self._check_keys(one, _ARGUMENT_KEYS, (*place, key))
            arguments[name] = {
                "name": name,
                **self._described((*place, key), one),
                "required": one.get("required") is True,
            }
            if one.get("values") is not None:
                values |= self._completions((*place, key), {"values": {name: one["values"]}}, (name,))
        return list(arguments.values()), values

    # --- of both ---

    def _described(self, path: Path, raw: JsonObject) -> JsonObject:
        described: JsonObject = {}
        for key in ("title", "description"):
            value = raw.get(key)
            if isinstance(value, str):
                described[key] = value
            elif value is not None:
                self._faults.warn((*path, key), f"`{key}` must be text, not {sort_of(value)}, so it is ignored.")
        return described

    def _completions(self, path: Path, raw: JsonObject, names: tuple[str, ...]) -> JsonObject:
        found: JsonObject = {}
        for name, listed in (self._object(path, raw, "values") or {}).items():
            place = (*path, "values") if len(names) == 1 and name == names[0] else (*path, "values", name)
            if name not in names:
                self._faults.warn(place, f"the URI template has no variable {word(name)!r}.", nearest(name, names))
            elif not is_list(listed) or not all(isinstance(one, str | int | float) for one in listed):
                self._faults.warn(place, "`values` must be a list of texts, so it is ignored.")
            else:
                found[name] = [str(one) for one in listed]
        return found

    def _object(self, path: Path, raw: JsonObject, key: str) -> JsonObject | None:
        value = raw.get(key)
        if value is None or is_object(value):
            return value
        self._faults.warn((*path, key), f"`{key}` must be an object, not {sort_of(value)}, so it is ignored.")
        return None

    def _may_read(self, path: Path) -> bool:
        if not self._files:
            self._faults.error(
                (*path, "file"),
                "a fetched manual must not name local files.",
                'If you trust it fully, add "trusted": true to the manual, or write this part into its entry.',
            )
        return self._files

    def _is_new(self, path: Path, name: str, into: dict[str, Any]) -> bool:
        if name in into:
            self._faults.error(path, f"another one is also named {word(name)!r}.")
        return name not in into

    def _check_keys(self, raw: JsonObject, known: frozenset[str], path: Path) -> None:
        for key in raw:
            if key not in known and not word(key).startswith(_FREE_KEYS):
                self._faults.misread((*path, key), f"nothing reads the key {word(key)!r}.", nearest(key, known))


def _name_of(uri: str) -> str:
    """Return a name for a resource without one: the end of its URI."""
    return uri.partition(":")[2].translate({ord("{"): None, ord("}"): None}).strip("/") or uri


def _is_visible(text: str) -> bool:
    return visible(text) == text and " " not in text


def _is_base64(text: str) -> bool:
    try:
        b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
