"""Configuration from files, folders, URLs and plain dicts: several at once become one `UtcpClientConfig`.

The bridge detects from its content what a file is: a client configuration of either generation, a list of providers,
one call template, a manual, an OpenAPI description, an MCP host's file. For keys that two sources set, the later wins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import anyio
import anyio.to_thread
from pydantic import ValidationError

from utcp_bridge.configuration.environment import (
    ENV_FILE,
    reads_env_file,
    settings_from_environment,
    unknown_variables,
    variables_of_settings,
)
from utcp_bridge.configuration.places import (
    DOCUMENT_SUFFIXES,
    NoSuchFile,
    fetch_url,
    hint_of,
    is_url,
    parsed,
    read_file,
)
from utcp_bridge.dialects import KnownFields, ManualEntry, ParsedConfig, Shape, detect, read_config
from utcp_bridge.dialects.fields import nearest, word
from utcp_bridge.dialects.shorthand import suggest_name
from utcp_bridge.errors import ConfigError, UtcpError, VariableNotFound
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import Document, Fault, Faults, JsonObject, Trust, is_list, is_object
from utcp_bridge.settings import (
    FILE_SETTINGS,
    BridgeSettings,
    UtcpClientConfig,
    explain,
    flat_settings,
    merged_settings,
    settings_fault,
    with_secret_files,
)
from utcp_bridge.settings.narrow import model_of
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.urls import bare_url
from utcp_bridge.variables import EnvFile, Variables, load_variable_loaders, variable_names

if TYPE_CHECKING:
    from utcp_bridge.configuration.hosts.reading import HostConfiguration

__all__ = ["ConfigLike", "LoadedConfig", "Template", "as_config", "as_entry", "files_of", "load_config"]


class _Model(Protocol):
    def model_dump(self, *, exclude_none: bool) -> dict[str, Any]: ...


Template: TypeAlias = Mapping[str, Any] | _Model
"""A call template or provider: any mapping, or any pydantic model of one."""

ConfigLike: TypeAlias = UtcpClientConfig | Mapping[str, Any] | Sequence[Mapping[str, Any]] | str | Path | None
_MAX_AT_ONCE: Final = 32
_HOST_KEYS: Final = frozenset({"mcpServers", "mcp", "servers", "mcp_servers", "context_servers", "extensions"})
"""The keys of a document that may be a host's file. For any other document, the reader of these files is not imported,
because that takes a tenth of the time of a start."""
_ENTRY_KEYS: Final = ("manual_call_templates", "providers", "mcpServers")
_CONFIG_SHAPES = frozenset({Shape.CONFIG, Shape.CONFIG_ENTRIES, Shape.TEMPLATE})
_MANUAL_SHAPES = frozenset({Shape.MANUAL, Shape.OPENAPI, Shape.FOREIGN, Shape.TOOLS, Shape.MCP_TOOLS})


@dataclass(slots=True)
class LoadedConfig:
    """A configuration that a client can use. `root` is the folder where relative paths start."""

    config: UtcpClientConfig
    root: Path
    faults: list[Fault] = field(default_factory=list[Fault])
    documents: dict[str, Document] = field(default_factory=dict[str, Document], repr=False)
    """The manuals among the sources that were URLs, by URL, so that the client need not fetch them again."""
    lock_file: Path | None = None
    """Where the hashes of approved tools belong: beside the first source, if that is a file."""
    env_files: tuple[EnvFile, ...] = field(default=(), repr=False)
    """The `.env` next to each source that is a file or a folder. They may be missing."""
    calls: bool = True
    """Whether tools are called, other than to try them, so that the audit log is opened."""
    files: tuple[Path, ...] = ()
    """Further files that were read: those with secret settings, and that of `providers_file_path`."""


@dataclass(slots=True)
class _Gathered:
    """What the sources have given so far."""

    known_fields: KnownFields
    entries: list[ManualEntry] = field(default_factory=list[ManualEntry], repr=False)
    client: JsonObject = field(default_factory=dict[str, Any], repr=False)
    bridge: JsonObject = field(default_factory=dict[str, Any], repr=False)
    places: dict[str, str] = field(default_factory=dict[str, str])
    """The place where each key of `bridge` was found."""
    setting_error: ConfigError | None = None
    """Why the settings of a source cannot be read."""
    faults: Faults = field(default_factory=Faults)
    env_files: tuple[EnvFile, ...] = ()
    documents: dict[str, Document] = field(default_factory=dict[str, Document])
    files: list[Path] = field(default_factory=list[Path])

    def add_document(self, document: Any, *, where: str, folder: Path | None, shape: Shape | None = None) -> None:
        """Add a configuration or a host's file; `shape` is what `detect` says of it, if that is known."""
        host = _host_configuration(document)
        if host is not None:
            self.add_host_file(host, where=where, folder=folder)
            return
        config = read_config(document, where=where, known_fields=self.known_fields, shape=shape)
        self._add_config(config, where, folder)

    def add_host_file(self, host: HostConfiguration, *, where: str, folder: Path | None) -> None:
        """Add the servers of a host's file, and what else in it is a configuration."""
        self.faults.extend(host.faults(where))
        config = read_config(host.document, where=where, known_fields=self.known_fields, shape=Shape.CONFIG)
        self._add_config(config, where, folder)

    def add_entry(self, entry: ManualEntry, where: str) -> None:
        if any(known.name == entry.name for known in self.entries):
            what = f"there is already a manual named {entry.name!r}, so this one is left out."
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
            what = f"there is already a registry named {registry['name']!r}, so this one is left out."
            self.faults.error(where, what, "Rename one of them.")
            return
        known.append(registry)

    def add_bare_registry(self, place: str, where: str) -> None:
        """Add a registry that is not in a configuration; it is named after its place."""
        self.add_document({"registries": [place]}, where=where, folder=None)

    def _add_config(self, config: ParsedConfig, where: str, folder: Path | None) -> None:
        self.faults.extend(config.faults)
        for entry in config.entries:
            self._warn_of_servers(entry, where)
            self.add_entry(ManualEntry(entry.name, _anchored(entry.template, folder)), where)
        client = dict(config.client)
        self.client["variables"] = {**self.client.get("variables", {}), **(client.pop("variables", None) or {})}
        loaders = [_anchored(loader, folder) for loader in client.pop("load_variables_from", None) or ()]
        self.client["load_variables_from"] = [*self.client.get("load_variables_from", ()), *loaders]
        for registry in client.pop("registries", None) or ():
            self.add_registry(_anchored_registry(registry, folder), where)
        self.client.update(client)
        self._add_settings(config.bridge, f"{where}, `bridge`", folder)

    def _warn_of_servers(self, entry: ManualEntry, where: str) -> None:
        """Report the keys of an entry's MCP servers that nothing reads."""
        if entry.template.get("call_template_type") != "mcp":
            return
        from utcp_bridge.configuration.hosts.reading import unread_in_entry

        for _, what, remedy in unread_in_entry(entry.template):
            self.faults.warn(f"{where}: {entry.name}", what, remedy)

    def _add_settings(self, settings: JsonObject, place: str, folder: Path | None) -> None:
        try:
            flat = _anchored(flat_settings(settings), folder, tuple(FILE_SETTINGS))
            self.bridge = merged_settings(self.bridge, flat)
        except ConfigError as error:
            self.setting_error = ConfigError(f"{place}: {error.message}", remedy=error.remedy)
            return
        self.places.update(dict.fromkeys(flat, place))


_Add: TypeAlias = Callable[[_Gathered], bool]
"""Adds a source that was read. Returns whether anything could be read.

:raises UtcpError: the source cannot be used.
"""


async def load_config(
    sources: Sequence[str | Path],
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    known_fields: KnownFields | None = None,
) -> LoadedConfig:
    """Read configuration files, folders and URLs, all at once; they count in the order in which they are named.

    A fault in one entry is in `faults`; the other entries of the file are kept. `overrides` are settings from the
    command line. `environ` replaces the process environment. `known_fields` gives the fields of a kind's call template;
    by default it is that of the installed transports.

    :raises ConfigError: none of the sources can be read, or a setting is not valid.
    """
    gathered = _Gathered(known_fields or TransportRegistry().fields)
    read = await _add_sources(gathered, [str(source) for source in sources])
    if sources and not read:
        raise await _unread(gathered.faults.faults[0], sources[0])
    root = await _root_of(sources)
    await _add_providers_file(gathered, root)
    folders = [await _folder_of(source) for source in sources if not is_url(str(source))]
    gathered.env_files = tuple(EnvFile(folder / ENV_FILE) for folder in dict.fromkeys(folders))
    config = _build(gathered, root, environ, overrides)
    gathered.faults.extend(unknown_variables(environ))
    for file in gathered.env_files:
        gathered.faults.extend(file.check())
    return LoadedConfig(
        config,
        root,
        gathered.faults.faults,
        gathered.documents,
        await _lock_of(sources),
        gathered.env_files,
        files=tuple(gathered.files),
    )


async def as_config(config: ConfigLike, *, root: Path | None, known_fields: KnownFields | None = None) -> LoadedConfig:
    """Return a configuration from any form that `UtcpClient.create` takes.

    :raises ConfigError: it cannot be read, or a setting is not valid.
    """
    here = root or Path.cwd()
    if isinstance(config, UtcpClientConfig):
        return await _with_providers_file(config, here, known_fields)
    if isinstance(config, str | Path):
        loaded = await load_config([config], known_fields=known_fields)
        return loaded if root is None else replace(loaded, root=root)
    gathered = _Gathered(known_fields or TransportRegistry().fields)
    if config:
        document = list(config) if isinstance(config, Sequence) else dict(config)
        gathered.add_document(document, where="the configuration", folder=None)
    await _add_providers_file(gathered, here)
    return LoadedConfig(_build(gathered, here, None, None), here, gathered.faults.faults)


def as_entry(template: Template, *, known_fields: KnownFields) -> ManualEntry:
    """Return one call template (v1) or provider (v0) as a configuration entry.

    :raises ConfigError: the template is not valid.
    """
    fields = template if isinstance(template, Mapping) else template.model_dump(exclude_none=True)
    reading = read_config([dict(fields)], where="the call template", known_fields=known_fields)
    if not reading.entries:
        raise ConfigError(str(reading.faults[0]) if reading.faults else "This is not a call template.")
    return reading.entries[0]


async def _add_sources(gathered: _Gathered, sources: Sequence[str]) -> int:
    """Read files, folders and URLs at once, each one once, and add them in their order; return how many were read."""
    readings: dict[str, _Add] = {}
    at_once = anyio.CapacityLimiter(_MAX_AT_ONCE)

    async def read(source: str) -> None:
        async with at_once:
            readings[source] = await _read_source(source)

    async with anyio.create_task_group() as group:
        for source in dict.fromkeys(sources):
            group.start_soon(read, source)
    return sum(_add(gathered, source, readings[source]) for source in sources)


def _add(gathered: _Gathered, source: str, add: _Add) -> bool:
    """Add what a source is; return whether it could be read. An error becomes a fault."""
    try:
        return add(gathered)
    except UtcpError as error:
        gathered.faults.error(bare_url(source) if is_url(source) else source, error.message, error.remedy or "")
        return False


async def _read_source(source: str) -> _Add:
    """Read one file, folder or URL. Return the function that adds it, or raises why that is impossible."""
    try:
        if is_url(source):
            return await _read_url(source)
        if await anyio.Path(source).is_dir():
            return await _read_folder(Path(source))
        return await _read_file(Path(source))
    except UtcpError as error:
        return partial(_raise, error)


def _raise(error: UtcpError, _gathered: _Gathered) -> bool:
    raise error


async def _read_folder(folder: Path) -> _Add:
    """Read the documents of a folder: first the configurations, then the manuals that none of them names."""
    names = sorted(
        [path.name async for path in anyio.Path(folder).iterdir() if path.suffix.lower() in DOCUMENT_SUFFIXES]
    )
    if not names:
        raise ConfigError("The folder contains no JSON or YAML file.", remedy="Name a file, or add one to the folder.")
    start = Path(await anyio.Path(folder).absolute())
    files: dict[bool, list[tuple[str, _Add]]] = {True: [], False: []}
    named: set[str] = set()
    for name in names:
        is_config = False
        try:
            is_config, document, add = await _read_document(start / name)
            named |= set(_paths_in(document, start)) if is_config else set()
        except UtcpError as error:
            add = partial(_raise, error)
        files[is_config].append((str(folder / name), add))
    bare = [(source, add) for source, add in files[False] if str(start / Path(source).name) not in named]
    return lambda gathered: sum(_add(gathered, source, add) for source, add in (*files[True], *bare)) > 0


def _paths_in(part: Any, folder: Path) -> Iterator[str]:
    """Yield each text of a configuration as a path that starts at its folder."""
    if isinstance(part, str):
        path = part.removeprefix("file:").removeprefix("//")
        yield os.path.normpath(folder / os.path.expanduser(path))  # noqa: PTH111 - any text, also one without a home
    elif is_object(part) or is_list(part):
        for member in part.values() if is_object(part) else part:
            yield from _paths_in(member, folder)


async def _read_file(named: Path) -> _Add:
    _, _, add = await _read_document(Path(await anyio.Path(named).absolute()), named)
    return add


async def _read_document(path: Path, named: Path | None = None) -> tuple[bool, Any, _Add]:
    """Return whether a file is a configuration, its document, and the function that adds it. `named` is as written."""
    jsonc = path.suffix in {".json", ".jsonc"}
    document = await parsed(await read_file(path, named), hint=hint_of(path), jsonc=jsonc, where="The file")
    host = await anyio.to_thread.run_sync(_host_configuration, document, path) if _may_be_host(document) else None
    if host is not None:
        return True, document, partial(_add_host_file, host, path)
    shape = detect(document)

    def add(gathered: _Gathered) -> bool:
        if shape in _CONFIG_SHAPES:
            gathered.add_document(document, where=str(path), folder=path.parent, shape=shape)
        elif shape in _MANUAL_SHAPES:
            gathered.add_manual({"call_template_type": "file", "file_path": str(path)})
        elif shape is Shape.REGISTRY:
            gathered.add_bare_registry(str(path), str(path))
        else:
            raise _unknown_shape(document)
        return True

    return shape in _CONFIG_SHAPES, document, add


def _may_be_host(document: Any) -> bool:
    return is_object(document) and not _HOST_KEYS.isdisjoint(document)


def _host_configuration(document: Any, path: Path | None = None) -> HostConfiguration | None:
    """Return a host's file as a configuration; None for other documents. `path` is where the file is."""
    if not _may_be_host(document):
        return None
    from utcp_bridge.configuration.hosts.files import host_configuration
    from utcp_bridge.configuration.hosts.reading import as_configuration

    return as_configuration(document) if path is None else host_configuration(document, path)


def _add_host_file(host: HostConfiguration, path: Path, gathered: _Gathered) -> bool:
    gathered.add_host_file(host, where=str(path), folder=path.parent)
    return True


async def _read_url(url: str) -> _Add:
    """Read what is at a URL. The operator wrote the URL, so a configuration at it counts as the operator's own."""
    fetched = await fetch_url(url)
    document = await parsed(fetched.content, hint=fetched.media_type or url, where=bare_url(url))
    shape, host = detect(document), _host_configuration(document)

    def add(gathered: _Gathered) -> bool:
        if host is not None:
            gathered.add_host_file(host, where=bare_url(url), folder=None)
        elif shape in _CONFIG_SHAPES:
            gathered.add_document(document, where=bare_url(url), folder=None, shape=shape)
        elif shape in _MANUAL_SHAPES:
            gathered.add_manual({"call_template_type": "http", "url": url})
            gathered.documents[url] = fetched
        elif shape is Shape.REGISTRY:
            gathered.add_bare_registry(url, url)
        else:
            raise _unknown_shape(document)
        return True

    return add


async def _add_providers_file(gathered: _Gathered, root: Path) -> None:
    """Add the file that `providers_file_path` (UTCP v0.2) names.

    :raises ConfigError: it cannot be read.
    """
    path = gathered.client.pop("providers_file_path", None)
    if path:
        place = str(root / str(path))
        gathered.files.append(Path(place))
        known = len(gathered.faults.faults)
        if not await _add_sources(gathered, [place]):
            fault = gathered.faults.faults[known]
            raise await _unread(replace(fault, where=f"providers_file_path: {fault.where}"), place)


async def _with_providers_file(config: UtcpClientConfig, root: Path, known_fields: KnownFields | None) -> LoadedConfig:
    """Return a configuration that is a model already, with what its `providers_file_path` names.

    :raises ConfigError: that file cannot be read.
    """
    if not config.providers_file_path:
        return LoadedConfig(config, root)
    gathered = _Gathered(known_fields or TransportRegistry().fields)
    gathered.client["providers_file_path"] = config.providers_file_path
    await _add_providers_file(gathered, root)
    found = _build(gathered, root, {}, None)
    joined: JsonObject = {
        "variables": {**found.variables, **config.variables},
        "load_variables_from": (*found.load_variables_from, *config.load_variables_from),
        "manual_call_templates": (*config.manual_call_templates, *found.manual_call_templates),
        "providers_file_path": None,
    }
    return LoadedConfig(config.model_copy(update=joined), root, gathered.faults.faults)


async def _unread(fault: Fault, source: str | Path) -> ConfigError:
    """Return the error for the first fault of a source that could not be read."""
    is_missing = not is_url(str(source)) and not await anyio.Path(source).exists()
    kind = NoSuchFile if is_missing else ConfigError
    return kind(f"{fault.where}: {fault.what}", remedy=fault.remedy or None)


async def _root_of(sources: Iterable[str | Path]) -> Path:
    """Return the folder of the first file, or the first folder itself."""
    for source in sources:
        path = anyio.Path(source)
        if await path.exists():
            resolved = await path.resolve()
            return Path(resolved if await path.is_dir() else resolved.parent)
    return Path.cwd()


def files_of(sources: Iterable[str | Path]) -> list[Path]:
    """Return the local files and folders of a configuration, and the `.env` next to each, which may be missing.

    :raises OSError: a folder cannot be read.
    """
    found: dict[Path, None] = {}
    for source in sources:
        if is_url(str(source)):
            continue
        path = Path(source).absolute()
        is_folder = path.is_dir()
        folder = path if is_folder else path.parent
        inside = [one for one in folder.iterdir() if one.suffix.lower() in DOCUMENT_SUFFIXES] if is_folder else []
        found |= dict.fromkeys((path, *inside, folder / ENV_FILE))
    return list(found)


async def _folder_of(source: str | Path) -> Path:
    """Return the folder of a file as it is named, or the folder itself. Links are not followed."""
    path = anyio.Path(await anyio.Path(source).absolute())
    return Path(path if await path.is_dir() else path.parent)


async def _lock_of(sources: Sequence[str | Path]) -> Path | None:
    """Return the lock file of a configuration: beside its first file; None if the first source is not a file."""
    if not sources or not await anyio.Path(sources[0]).is_file():
        return None
    return Path(await anyio.Path(sources[0]).resolve()).parent / "utcp.lock"


def _build(
    gathered: _Gathered, root: Path, environ: Mapping[str, str] | None, overrides: Mapping[str, Any] | None
) -> UtcpClientConfig:
    if gathered.setting_error is not None:
        raise gathered.setting_error
    from_command_line = flat_settings(overrides or {})
    places = gathered.places | variables_of_settings(environ) | dict.fromkeys(from_command_line, "the command line")
    settings = merged_settings(gathered.bridge, settings_from_environment(environ), from_command_line)
    if not reads_env_file(settings):
        gathered.env_files = ()
    try:
        filled = _filled_in(settings, gathered, root, environ, places)
        gathered.files += [Path(str(filled[key])).expanduser() for key in FILE_SETTINGS if key in filled]
        bridge = model_of(BridgeSettings, with_secret_files(filled))
    except ValidationError as error:
        raise settings_fault(error, lambda key: places.get(key, places.get(f"{key}_file", ""))) from None
    try:
        templates = tuple(entry.template for entry in gathered.entries)
        keys = {**gathered.client, "manual_call_templates": templates}
        return model_of(UtcpClientConfig, keys, {"bridge": bridge})
    except ValidationError as error:
        raise ConfigError(f"Key {explain(error)}.", remedy="`utcp-bridge help configuration` lists the keys.") from None


def _filled_in(
    settings: JsonObject,
    gathered: _Gathered,
    root: Path,
    environ: Mapping[str, str] | None,
    places: Mapping[str, str],
) -> JsonObject:
    """Return settings with `${NAME}` filled in from the sources of variables. A bare `$NAME` stays as it is.

    :raises ConfigError: no source has a variable, or a source cannot be read.
    """
    if not any(variable_names({key: value}, braced_only=frozenset({key})) for key, value in settings.items()):
        return settings
    loaders, _ = load_variable_loaders(gathered.client.get("load_variables_from", ()), root=root)
    environ = os.environ if environ is None else environ  # noqa: TID251 - a source of variables
    variables = Variables(gathered.client.get("variables", {}), loaders, environ, env_files=gathered.env_files)
    filled: JsonObject = {}
    for key, value in settings.items():
        try:
            one = variables.resolve({key: value}, manual="", trust=Trust.OPERATOR, braced_only=frozenset({key}))
        except VariableNotFound as error:
            place = f"{places[key]}: " if places.get(key) else ""
            raise ConfigError(
                f"{place}Setting {key} contains the variable {error.key}, which is not set.",
                remedy=error.remedy,
            ) from None
        filled.update(one)
    return filled


def _anchored(
    entry: JsonObject, folder: Path | None, keys: Sequence[str] = ("file_path", "env_file_path")
) -> JsonObject:
    """Make the relative paths of an entry start at the folder of its file."""
    if folder is None:
        return entry
    changes = {
        key: os.path.join(folder, value)  # noqa: PTH118 - keeps `${VARIABLES}` and trailing parts as they are
        for key in keys
        if isinstance(value := entry.get(key), str)
        and not Path(value).is_absolute()
        and not value.startswith(("~", "$"))
    }
    return {**entry, **changes} if changes else entry


def _anchored_registry(registry: JsonObject, folder: Path | None) -> JsonObject:
    place = str(registry["registry"])
    return registry if is_url(place) else {**registry, "registry": _anchored({"file_path": place}, folder)["file_path"]}


def _unknown_shape(document: Any) -> ConfigError:
    from utcp_bridge.dialects.formats import format_of_document, said_of_format  # its table is seldom needed

    if found := format_of_document(document):
        return ConfigError(f"This is {said_of_format(found)}.", remedy=found.way)
    for key in document if is_object(document) else ():
        if near := nearest(key, _ENTRY_KEYS):
            return ConfigError(f"This is not a configuration: nothing reads the key {word(key)!r}.", remedy=near)
    return ConfigError(
        "This is neither a configuration, nor a manual, nor an OpenAPI description.",
        remedy='A configuration has "manual_call_templates" or is a list of providers. A manual has "tools".',
    )
