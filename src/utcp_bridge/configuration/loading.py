"""Configuration from files, folders, URLs and plain dicts: several at once become one `UtcpClientConfig`.

What a file is, its content says: a client configuration of either generation, a list of providers, one
call template, a manual, an OpenAPI description, an MCP host's file. The later of two sources wins.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import anyio
from pydantic import ValidationError

from utcp_bridge.configuration.places import DOCUMENT_SUFFIXES, fetch_url, hint_of, is_url, read_file
from utcp_bridge.dialects import KnownFields, ManualEntry, ParsedConfig, Shape, detect, read_config
from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.dialects.shorthand import suggest_name
from utcp_bridge.errors import ConfigError, UtcpError
from utcp_bridge.model import Fault, Faults, JsonObject
from utcp_bridge.settings import (
    ENVIRONMENT_PREFIX,
    BridgeSettings,
    UtcpClientConfig,
    explain,
    settings_fault,
    settings_from_environment,
)
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.urls import bare_url

__all__ = ["ConfigLike", "LoadedConfig", "as_config", "as_entry", "load_config"]

ConfigLike: TypeAlias = UtcpClientConfig | Mapping[str, Any] | Sequence[Mapping[str, Any]] | str | Path | None
_CONFIG_SHAPES = frozenset({Shape.CONFIG, Shape.CONFIG_ENTRIES, Shape.TEMPLATE})
_MANUAL_SHAPES = frozenset({Shape.MANUAL, Shape.OPENAPI, Shape.TOOLS, Shape.MCP_TOOLS})


@dataclass(slots=True)
class LoadedConfig:
    """A configuration ready for a client. `root` is where relative paths start."""

    config: UtcpClientConfig
    root: Path
    faults: list[Fault] = field(default_factory=list[Fault])


@dataclass(slots=True)
class _Gathered:
    """What the sources amount to so far."""

    known_fields: KnownFields
    entries: list[ManualEntry] = field(default_factory=list[ManualEntry])
    client: JsonObject = field(default_factory=dict[str, Any])
    bridge: JsonObject = field(default_factory=dict[str, Any])
    places: dict[str, str] = field(default_factory=dict[str, str])
    """Where each key of `bridge` was found."""
    faults: Faults = field(default_factory=Faults)

    def add_document(self, document: Any, *, where: str, folder: Path | None, shape: Shape | None = None) -> None:
        """Add a configuration; `shape` is what `detect` says of it, if that is known."""
        config = read_config(document, where=where, known_fields=self.known_fields, shape=shape)
        self._add_config(config, where, folder)

    def add_entry(self, entry: ManualEntry, where: str) -> None:
        if any(known.name == entry.name for known in self.entries):
            what = f"there is already a manual named {entry.name!r}; this one is left out."
            self.faults.error(where, what, "Rename one of them.")
            return
        self.entries.append(entry)

    def add_manual(self, template: JsonObject) -> None:
        """Add a bare manual: it is named after its place, and a second one of that name gets a number."""
        name = suggest_name(template, [known.name for known in self.entries])
        self.entries.append(ManualEntry(name, {**template, "name": name}))

    def add_registry(self, registry: JsonObject, where: str) -> None:
        known = self.client.setdefault("registries", [])
        if any(one["name"] == registry["name"] for one in known):
            what = f"there is already a registry named {registry['name']!r}; this one is left out."
            self.faults.error(where, what, "Rename one of them.")
            return
        known.append(registry)

    def add_bare_registry(self, place: str, where: str) -> None:
        """A registry alone: it is named after its place."""
        self.add_document({"registries": [place]}, where=where, folder=None)

    def _add_config(self, config: ParsedConfig, where: str, folder: Path | None) -> None:
        self.faults.extend(config.faults)
        for entry in config.entries:
            self.add_entry(ManualEntry(entry.name, _anchored(entry.template, folder)), where)
        client = dict(config.client)
        self.client["variables"] = {**self.client.get("variables", {}), **(client.pop("variables", None) or {})}
        loaders = [_anchored(loader, folder) for loader in client.pop("load_variables_from", None) or ()]
        self.client["load_variables_from"] = [*self.client.get("load_variables_from", ()), *loaders]
        for registry in client.pop("registries", None) or ():
            self.add_registry(_anchored_registry(registry, folder), where)
        self.client.update(client)
        self.bridge.update(config.bridge)
        self.places.update(dict.fromkeys(config.bridge, f"{where}, `bridge`"))


async def load_config(
    sources: Sequence[str | Path],
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    known_fields: KnownFields | None = None,
) -> LoadedConfig:
    """Read configuration files, folders and URLs.

    A file with a fault in one entry keeps the others: the fault is in `faults`. `overrides` are settings
    from the command line; `environ` replaces the process environment; `known_fields` gives the template keys of
    a transport kind, by default of the installed ones.

    :raises ConfigError: a source cannot be read at all and no other could, or a setting is not valid.
    """
    gathered = _Gathered(known_fields or TransportRegistry().fields)
    read = 0
    for source in sources:
        read += await _add_source(gathered, str(source))
    if sources and not read:
        first = gathered.faults.faults[0]
        raise ConfigError(f"{first.where}: {first.what}", remedy=first.remedy or None)
    root = await _root_of(sources)
    await _add_providers_file(gathered, root)
    return LoadedConfig(_build(gathered, environ, overrides), root, gathered.faults.faults)


async def as_config(config: ConfigLike, *, root: Path | None, known_fields: KnownFields | None = None) -> LoadedConfig:
    """A configuration in any form that `UtcpClient.create` takes. Raises as `load_config`."""
    here = root or Path.cwd()
    if isinstance(config, UtcpClientConfig):
        return LoadedConfig(config, here)
    if isinstance(config, str | Path):
        loaded = await load_config([config], known_fields=known_fields)
        return loaded if root is None else LoadedConfig(loaded.config, root, loaded.faults)
    gathered = _Gathered(known_fields or TransportRegistry().fields)
    if config:
        document = list(config) if isinstance(config, Sequence) else dict(config)
        gathered.add_document(document, where="the configuration", folder=None)
    await _add_providers_file(gathered, here)
    return LoadedConfig(_build(gathered, None, None), here, gathered.faults.faults)


def as_entry(template: Mapping[str, Any], *, known_fields: KnownFields) -> ManualEntry:
    """Return one call template (v1) or provider (v0) as a configuration entry.

    :raises ConfigError: it cannot be read as one.
    """
    reading = read_config([dict(template)], where="the call template", known_fields=known_fields)
    if not reading.entries:
        raise ConfigError(str(reading.faults[0]) if reading.faults else "This is not a call template.")
    return reading.entries[0]


async def _add_source(gathered: _Gathered, source: str) -> bool:
    """Add one file, folder or URL; what is wrong with it becomes a fault. True if something could be read."""
    try:
        if is_url(source):
            await _add_url(gathered, source)
            return True
        path = anyio.Path(source)
        if await path.is_dir():
            return await _add_folder(gathered, Path(source))
        await _add_file(gathered, Path(source))
        return True
    except UtcpError as error:
        gathered.faults.error(bare_url(source) if is_url(source) else source, error.message, error.remedy or "")
        return False


async def _add_folder(gathered: _Gathered, folder: Path) -> bool:
    names = sorted(
        [path.name async for path in anyio.Path(folder).iterdir() if path.suffix.lower() in DOCUMENT_SUFFIXES]
    )
    if not names:
        raise ConfigError("The folder holds no JSON or YAML file.", remedy="Name a file, or put one there.")
    return any([await _add_source(gathered, str(folder / name)) for name in names])


async def _add_file(gathered: _Gathered, named: Path) -> None:
    path = Path(await anyio.Path(named).absolute())
    jsonc = path.suffix in {".json", ".jsonc"}
    document = parse_document(await read_file(path), hint=hint_of(path), jsonc=jsonc, where="The file")
    shape = detect(document)
    if shape in _CONFIG_SHAPES:
        gathered.add_document(document, where=str(path), folder=path.parent, shape=shape)
    elif shape in _MANUAL_SHAPES:
        gathered.add_manual({"call_template_type": "file", "file_path": str(path)})
    elif shape is Shape.REGISTRY:
        gathered.add_bare_registry(str(path), str(path))
    else:
        raise _unknown_shape()


async def _add_url(gathered: _Gathered, url: str) -> None:
    """A URL on the command line is the operator's word: a configuration found there counts as theirs."""
    fetched = await fetch_url(url)
    document = parse_document(fetched.content, hint=fetched.media_type or url, where=bare_url(url))
    shape = detect(document)
    if shape in _CONFIG_SHAPES:
        gathered.add_document(document, where=bare_url(url), folder=None, shape=shape)
    elif shape in _MANUAL_SHAPES:
        gathered.add_manual({"call_template_type": "http", "url": url})
    elif shape is Shape.REGISTRY:
        gathered.add_bare_registry(url, url)
    else:
        raise _unknown_shape()


async def _add_providers_file(gathered: _Gathered, root: Path) -> None:
    """`providers_file_path` of UTCP v0.2."""
    path = gathered.client.pop("providers_file_path", None)
    if path:
        await _add_source(gathered, str(root / str(path)))


async def _root_of(sources: Iterable[str | Path]) -> Path:
    """The folder of the first file, or the first folder itself."""
    for source in sources:
        path = anyio.Path(source)
        if await path.exists():
            resolved = await path.resolve()
            return Path(resolved if await path.is_dir() else resolved.parent)
    return Path.cwd()


def _build(
    gathered: _Gathered, environ: Mapping[str, str] | None, overrides: Mapping[str, Any] | None
) -> UtcpClientConfig:
    from_environment = settings_from_environment(environ)
    places = gathered.places | {key: f"{ENVIRONMENT_PREFIX}{key.upper()}" for key in from_environment}
    places |= dict.fromkeys(overrides or (), "the command line")
    try:
        bridge = BridgeSettings.model_validate({**gathered.bridge, **from_environment, **(overrides or {})})
    except ValidationError as error:
        raise settings_fault(error, lambda key: places.get(key, "")) from None
    try:
        templates = tuple(entry.template for entry in gathered.entries)
        return UtcpClientConfig(**gathered.client, manual_call_templates=templates, bridge=bridge)
    except ValidationError as error:
        raise ConfigError(f"Key {explain(error)}.", remedy="docs/configuration.md lists the keys.") from None


def _anchored(entry: JsonObject, folder: Path | None) -> JsonObject:
    """Relative paths of a file's entries start at that file's folder."""
    if folder is None:
        return entry
    changes = {
        key: os.path.join(folder, value)  # noqa: PTH118 - keeps `${VARIABLES}` and trailing parts as they are
        for key in ("file_path", "env_file_path")
        if isinstance(value := entry.get(key), str)
        and not Path(value).is_absolute()
        and not value.startswith(("~", "$"))
    }
    return {**entry, **changes} if changes else entry


def _anchored_registry(registry: JsonObject, folder: Path | None) -> JsonObject:
    place = str(registry["registry"])
    return registry if is_url(place) else {**registry, "registry": _anchored({"file_path": place}, folder)["file_path"]}


def _unknown_shape() -> ConfigError:
    return ConfigError(
        "It is neither a configuration, nor a manual, nor an OpenAPI description.",
        remedy='A configuration has "manual_call_templates", or is a list of providers; a manual has "tools".',
    )
