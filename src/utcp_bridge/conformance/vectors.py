"""The vectors of the kit: how they are found, read, and filled in for one run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from utcp_bridge.errors import ConfigError
from utcp_bridge.model import Json, JsonObject, is_list, is_object, matches_glob

__all__ = [
    "MANUAL",
    "MANUAL_PATH",
    "Divergence",
    "Topic",
    "Vector",
    "chosen_topics",
    "filled",
    "kit_folder",
    "placeholders",
    "topics",
]

MANUAL: Final = "m"
"""The name of the manual in the configuration of each vector. Its variables have the prefix `m_`."""
MANUAL_PATH: Final = "/utcp"
"""Where the recording server has the manual."""
_PLACEHOLDER: Final = re.compile(
    r"<(http|ws|host|folder|python|program|stdin-program|mcp-program|(?:http|tcp|udp|grpc|closed)-port)>"
)
_WEB: Final = {"http", "sse", "streamable_http", "http_stream", "openapi"}
_TYPES: Final[Mapping[type, str]] = {
    str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Divergence:
    """Why implementations differ on some vectors of a file."""

    vectors: tuple[str, ...]
    """Their ids, without topic and generation."""
    right: str
    """Which reading the vectors take, and by which section."""
    ours: str
    """What utcp-bridge does."""
    known: Mapping[str, str]
    """What each implementation that differs does, by its name."""
    by_chance: bool = False
    """Whether the same implementation may pass in another run, such as by the pieces in which bytes arrive."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One check of one generation. Fields that the schema describes are in `data`, with placeholders."""

    id: str
    topic: str
    generation: str
    kind: str
    title: str
    source: str
    data: JsonObject = field(repr=False)
    divergences: tuple[Divergence, ...] = ()

    @property
    def manual(self) -> Json:
        """The manual that the recording server, or a file, has. None if the vector's entry brings its own."""
        if "manual" in self.data:
            manual: Json = self.data["manual"]
            return manual
        tools = self.data.get("tools") or ([self.data["tool"]] if "tool" in self.data else None)
        if tools is None:
            return None
        made = [self._tool(tool) for tool in tools]
        if self.generation == "v0":
            return {"version": "0.2.0", "tools": made}
        return {"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": made}

    def _tool(self, given: JsonObject) -> JsonObject:
        is_v0 = self.generation == "v0"
        template = {"provider_type" if is_v0 else "call_template_type": self.kind, **given["template"]}
        inputs = given.get("inputs", {name: _schema(value) for name, value in self.arguments.items()})
        if "type" not in inputs or is_object(inputs["type"]):
            inputs = {"type": "object", "properties": {name: _full_schema(one) for name, one in inputs.items()}}
        kept = {key: value for key, value in given.items() if key not in {"template", "inputs"}}
        return {
            "name": "tool",
            "description": "Does it.",
            **kept,
            "inputs": inputs,
            "tool_provider" if is_v0 else "tool_call_template": template,
        }

    @property
    def arguments(self) -> JsonObject:
        """The arguments of the call."""
        arguments: JsonObject = self.data.get("arguments", {})
        return arguments

    @property
    def support(self) -> str:
        """The word that an adapter lists among what it supports: by default the kind."""
        return str(self.data.get("support", self.kind))

    @property
    def tool_name(self) -> str | None:
        """The qualified name of the tool to call; None if nothing is called."""
        if "call" in self.data:
            return str(self.data["call"])
        return f"{MANUAL}.tool" if "lists" not in self.data else None

    @property
    def configuration(self) -> Any:
        """What the client is given: a v1 configuration, or v0's list of providers."""
        entry = self._entry()
        if self.generation == "v0":
            return [entry]
        return {
            "variables": self.data.get("variables", {}),
            **self.data.get("configuration", {}),
            "manual_call_templates": [entry, *self.data.get("other_entries", [])],
        }

    def _entry(self) -> JsonObject:
        is_v0 = self.generation == "v0"
        key = "provider_type" if is_v0 else "call_template_type"
        given: JsonObject = self.data.get("entry", {})
        how = self.data.get("discovery", "http")
        base: JsonObject = {"name": MANUAL}
        if how == "http":
            base |= {key: "http", "url": f"<http>{MANUAL_PATH}", "http_method": "GET"}
        elif how == "file":
            base |= {key: "text" if is_v0 else "file", "file_path": "<folder>/manual.json"}
        elif how == "text":
            base |= {key: "text", "content": json.dumps(self.manual)}
        else:
            base |= {key: self.kind}
        if how != "own" and (self.kind not in _WEB or how != "http"):
            base["allowed_communication_protocols"] = sorted({"http", self.kind} - {"openapi"})
        elif how == "http" and self.kind not in {"http", "openapi"}:
            base["allowed_communication_protocols"] = ["http", self.kind]
        return {name: value for name, value in {**base, **given}.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Topic:
    """The vectors of one file and one generation: one row of the matrix."""

    name: str
    title: str
    generation: str
    vectors: tuple[Vector, ...]


def kit_folder() -> Path:
    """Return the folder with the vectors and adapters: in an installed wheel `_conformance`, else the checkout's.

    :raises ConfigError: this installation has neither.
    """
    package = Path(str(files("utcp_bridge")))
    for folder in (package / "_conformance", package.parents[1] / "conformance"):
        if (folder / "vectors").is_dir():
            return folder
    raise ConfigError(
        "This installation has no vectors of the conformance kit.", remedy="Install utcp-bridge from its wheel."
    )


def topics(folder: Path | None = None) -> list[Topic]:
    """Return every topic in the order of the files' names, one for each generation.

    :raises ConfigError: a file is not YAML or does not match `vectors.schema.json`, or two vectors have one id.
    """
    folder = folder or kit_folder()
    found: list[Topic] = []
    for path in sorted((folder / "vectors").glob("*.yaml")):
        found += _read(path, folder)
    seen: set[str] = set()
    for topic in found:
        for vector in topic.vectors:
            if vector.id in seen:
                raise ConfigError(f"Two vectors have the id {vector.id}.", remedy="Give each its own `id`.")
            seen.add(vector.id)
    return found


def chosen_topics(only: Sequence[str] = (), folder: Path | None = None) -> list[Topic]:
    """Return the topics with those of their vectors whose id matches one of the patterns; all, without a pattern.

    :raises ConfigError: no vector matches, or the vectors cannot be read.
    """
    found = [
        replace(topic, vectors=tuple(one for one in topic.vectors if not only or _matches(one.id, only)))
        for topic in topics(folder)
    ]
    if not any(topic.vectors for topic in found):
        raise ConfigError(f"No vector matches {', '.join(only)}.", remedy="`utcp-bridge conformance --list` shows all.")
    return [topic for topic in found if topic.vectors]


def _matches(identity: str, only: Sequence[str]) -> bool:
    return any(matches_glob(pattern, identity) or matches_glob(f"{pattern}@*", identity) for pattern in only)


def _read(path: Path, folder: Path) -> Iterator[Topic]:
    import yaml

    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}.") from None
    _check(path, content, str(folder / "vectors.schema.json"))
    found = [
        Divergence(tuple(one["vectors"]), one["right"], one["ours"], one["known"], one.get("by_chance", False))
        for one in content.get("divergences", [])
    ]
    unknown = {name for one in found for name in one.vectors} - {given["id"] for given in content["vectors"]}
    if unknown:
        raise ConfigError(f"{path.name}: a divergence names {', '.join(sorted(unknown))}, which is not a vector of it.")
    for generation in content["generations"]:
        vectors = [
            _vector(path.stem, generation, content["kind"], given, found)
            for given in content["vectors"]
            if generation in given.get("generations", content["generations"])
        ]
        yield Topic(f"{path.stem} ({generation})", content["title"], generation, tuple(vectors))


def _vector(topic: str, generation: str, kind: str, given: JsonObject, divergences: Sequence[Divergence]) -> Vector:
    merged = {**given, **given.get(f"in_{generation}", {})}
    return Vector(
        id=f"{topic}/{given['id']}@{generation}",
        topic=f"{topic} ({generation})",
        generation=generation,
        kind=_kind(merged.get("kind", kind), generation),
        title=given["title"],
        source=given["source"],
        data=merged,
        divergences=tuple(one for one in divergences if given["id"] in one.vectors),
    )


def _kind(kind: str, generation: str) -> str:
    return {"streamable_http": "http_stream", "file": "text"}.get(kind, kind) if generation == "v0" else kind


@cache
def _validator(schema: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.validator_for(json.loads(Path(schema).read_text(encoding="utf-8")))


def _check(path: Path, content: Any, schema: str) -> None:
    for error in _validator(schema).iter_errors(content):
        place = "/".join(map(str, error.instance_path))
        raise ConfigError(f"{path.name}, /{place}: {error.message}.", remedy="See vectors.schema.json.")


def _schema(value: Any) -> JsonObject:
    return {} if value is None else {"type": _TYPES[type(value)]}


def _full_schema(schema: Any) -> Any:
    return {"type": schema} if isinstance(schema, str) else schema


def placeholders(value: Any) -> set[str]:
    """Return the names of the placeholders in a value: which servers and programs a vector needs."""
    return set(_PLACEHOLDER.findall(json.dumps(value)))


def filled(value: Any, known: Mapping[str, str | int]) -> Any:
    """Return a value with each `<name>` filled in. Text that is one placeholder becomes its value, also a number."""
    if isinstance(value, str):
        if (whole := _PLACEHOLDER.fullmatch(value)) and whole[1] in known:
            return known[whole[1]]
        return _PLACEHOLDER.sub(lambda match: str(known.get(match[1], match[0])), value)
    if is_object(value):
        return {filled(key, known): filled(item, known) for key, item in value.items()}
    return [filled(item, known) for item in value] if is_list(value) else value
