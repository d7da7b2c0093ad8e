"""Settings: the UTCP client's own keys, and the bridge's in groups. All models are frozen.

A value comes, in falling order, from the command line, a `UTCP_BRIDGE_<KEY>` environment variable, the `bridge:`
section of a configuration file, and the default. Each setting has a flat key (`concurrency`) and a key in its group
(`limits.concurrency`). Both work in files, variables and on the command line. Code reads the flat attribute; code that
needs one group only takes that group's class, which `BridgeSettings` inherits from. The keys of `UtcpClientConfig` are
those of UTCP v1 (and `providers_file_path` of v0.2). A secret setting can also come from a file: `bearer_token_file`
for `bearer_token`, `proxy_file` for `proxy`.
"""

import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from utcp_bridge.errors import ConfigError, expectation, explain
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.settings.access import ACCESS_GROUPS, AccessSettings, OAuthSettings, TlsSettings, forwardable
from utcp_bridge.settings.groups import (
    ArgumentCheck,
    Count,
    Exposure,
    ExposureLimits,
    ExposureSettings,
    Frozen,
    GeneratedToken,
    HeaderName,
    LimitSettings,
    LogSettings,
    MetaToolNames,
    PolicySettings,
    ProcessSettings,
    ReplicaSettings,
    ResilienceSettings,
    SearchSettings,
    Seconds,
    ServerSettings,
    Size,
    TelemetrySettings,
    TimeoutSettings,
)

__all__ = [
    "FILE_SETTINGS", "GENERATED_TOKEN", "GROUPS", "LIVE_SETTINGS", "SEE_SETTINGS", "AccessSettings", "ArgumentCheck",
    "BridgeSettings", "Exposure", "ExposureLimits", "ExposureSettings", "GeneratedToken", "LimitSettings",
    "LogSettings", "ManualOptions", "MetaToolNames", "PolicySettings", "ProcessSettings", "ReplicaSettings",
    "ResilienceSettings",
    "SearchSettings", "ServerSettings", "SettingSpelling", "TelemetrySettings", "TimeoutSettings", "UtcpClientConfig",
    "expectation", "explain", "flat_settings", "grouped_name", "merged_settings", "nearest_setting", "setting_named",
    "settings_fault", "spellings", "unknown_setting", "with_secret_files",
]  # fmt: skip

SEE_SETTINGS: Final = "`utcp-bridge help settings` lists the settings."
"""The remedy for a wrong setting."""
_SECRETS: Final = (
    "audit_key", "bearer_token", "metrics_token", "oauth_client_secret", "proxy", "search_store", "state_key",
    "store", "store_password", "token_store",
)  # fmt: skip
FILE_SETTINGS: Final = {f"{name}_file": name for name in _SECRETS}
"""The settings that name a file with a secret, and the secret setting that each gives."""
GENERATED_TOKEN: Final = "generate"  # noqa: S105 - asks for a token
"""The value of `bearer_token` for which `serve` makes a token."""
_MAX_SECRET_BYTES: Final = 64 * 1024
LIVE_SETTINGS: Final = frozenset({
    "exposure", "exposure_limits", "exposure_by_client", "pinned", "naming", "aliases", "list_status", "page_size",
    "structured_content", "max_schema_bytes", "follow_configuration",
    "startup_settle", "drain_seconds", "discovery_timeout", "call_timeout", "stream_timeout", "idle_timeout",
    "keep_alive_timeout",
    "max_result_bytes", "max_result_bytes_by_client", "max_stream_events", "concurrency", "queue", "rate_limit",
    "retries", "breaker_failures", "breaker_pause", "breaker_max_pause", "validation", "log_level",
    "profile", "profiles", "default_profile", "budgets", "access_rules", "approvals", "rule_timeout", "spotlight",
    "allowed_hosts", "allowed_browser_origins", "max_sessions", "client_metadata_url",
    "bearer_token", "tokens_file", "required_scopes", "tls_client_ca", "tls_profiles",
    "metrics_token", *OAuthSettings.model_fields,
    "max_connections", "max_connections_per_address", "startup_wait", "refresh_interval", "deadline_header",
    "max_manual_bytes", "max_tools", "max_kept_bytes", "result_lifetime", "retry_share", "dotenv", "console",
    "audit_arguments", "audit_max_bytes", "audit_max_age", "audit_keep",
})  # fmt: skip
"""The settings that a running server takes over when its configuration changes (docs/live.md)."""

GROUPS: Final[Mapping[str, type[BaseModel]]] = {
    "server": ServerSettings,
    "exposure": ExposureSettings,
    "timeouts": TimeoutSettings,
    "limits": LimitSettings,
    "resilience": ResilienceSettings,
    "policy": PolicySettings,
    "search": SearchSettings,
    "log": LogSettings,
    "telemetry": TelemetrySettings,
    **ACCESS_GROUPS,
    "processes": ProcessSettings,
    "replicas": ReplicaSettings,
}
"""The groups by their names. At most 12 settings each."""


class BridgeSettings(
    ServerSettings,
    ExposureSettings,
    TimeoutSettings,
    LimitSettings,
    ResilienceSettings,
    PolicySettings,
    SearchSettings,
    LogSettings,
    TelemetrySettings,
    AccessSettings,
    OAuthSettings,
    TlsSettings,
    ProcessSettings,
    ReplicaSettings,
):  # the order of `GROUPS`
    """The bridge's own settings, each with a default that suits a newcomer.

    The constructor takes flat keys. `model_validate` takes groups too: `{"limits": {"concurrency": 8}}`.
    """

    @model_validator(mode="before")
    @classmethod
    def _flatten(cls, values: Any) -> Any:
        if not is_object(values):
            return values
        try:
            return with_secret_files(flat_settings(values))
        except ConfigError as error:
            raise ValueError(str(error)) from None

    def take_over(self, other: Self, keys: Iterable[str]) -> None:
        """Take some values of other settings, for a running server whose configuration has changed.

        Many parts hold these settings, and read a value when they need it. So all of them have the new one at once,
        which copies could not promise. Nothing else changes settings.
        """
        for key in keys:
            object.__setattr__(self, key, getattr(other, key))
            if key in other.model_fields_set:
                self.__pydantic_fields_set__.add(key)
            else:
                self.__pydantic_fields_set__.discard(key)


class ShadowOptions(BaseModel):
    """A manual whose tools are to replace those of another one, and which calls are compared (docs/sameness.md)."""

    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", hide_input_in_errors=True)

    new: str
    """The name of the manual that also receives the calls."""
    tools: tuple[str, ...] = ()
    """Patterns of tools; by default every tool that is known to be read-only."""
    ignore: tuple[Annotated[str, Field(pattern="^/")], ...] = ()
    """JSON pointers of members of replies that differ by nature."""
    promoted: tuple[str, ...] = ()
    """Names of tools whose calls the new manual answers alone."""


class ManualOptions(Frozen):
    """Keys that only the operator may write beside a manual's call template."""

    model_config = ConfigDict(frozen=True, defer_build=True, extra="ignore", hide_input_in_errors=True)

    trusted: bool = False
    share: bool = False
    allowed_origins: tuple[str, ...] = ()
    allow_networks: tuple[str, ...] = ()
    allowed_communication_protocols: tuple[str, ...] | None = None
    base_url: str | None = Field(default=None, repr=False)
    auth_tools: JsonObject | None = Field(default=None, repr=False)
    server_variables: Mapping[str, str] = Field(default_factory=dict, repr=False)
    include: JsonObject | None = None
    exclude: JsonObject | None = None
    overrides: Mapping[str, JsonObject] = Field(default_factory=dict, repr=False)
    verify_ssl: bool = True
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    server_name: str | None = None
    proxy: str | None = Field(default=None, repr=False)
    call_timeout: Seconds | None = None
    discovery_timeout: Seconds | None = None
    deadline_header: HeaderName | None = None
    forward_headers: tuple[Annotated[HeaderName, AfterValidator(forwardable)], ...] = ()
    concurrency: Size | None = None
    queue: Count | None = None
    rate_limit: float | None = Field(default=None, gt=0)
    retries: int | None = Field(default=None, ge=0, le=10)
    breaker_failures: Count | None = None
    max_reply_bytes: Size | None = None
    validation: ArgumentCheck | None = None
    refresh_interval: float | None = Field(default=None, ge=0)
    sha256: str | None = Field(default=None, pattern="^[0-9a-fA-F]{64}$")
    shadow: ShadowOptions | None = None
    registry: str | None = None
    registry_namespace: str | None = None


class UtcpClientConfig(BaseModel):
    """A UTCP client's configuration (UTCP v1 client config; v0.2 keys are read too)."""

    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", hide_input_in_errors=True)

    variables: Mapping[str, Any] = Field(default_factory=dict, repr=False)
    load_variables_from: tuple[JsonObject, ...] = Field(default=(), repr=False)
    tool_repository: JsonObject | None = Field(default=None, repr=False)
    tool_search_strategy: JsonObject | None = Field(default=None, repr=False)
    post_processing: tuple[JsonObject, ...] = Field(default=(), repr=False)
    manual_call_templates: tuple[JsonObject, ...] = Field(default=(), repr=False)
    registries: tuple[JsonObject, ...] = Field(default=(), repr=False)
    providers_file_path: str | None = None
    """A file with more manuals (v0.2). `UtcpClient.create` reads it."""
    bridge: BridgeSettings = Field(default_factory=BridgeSettings)


@dataclass(frozen=True, slots=True)
class SettingSpelling:
    """One setting as somebody wrote it: `path` in the document, its flat `key` (None if there is none), its value."""

    path: tuple[str, ...]
    key: str | None
    value: Any = field(repr=False)

    @property
    def name(self) -> str:
        """The setting's name as written, such as `limits.concurrency`."""
        return ".".join(self.path)


def spellings(values: Mapping[str, Any]) -> Iterator[SettingSpelling]:
    """Yield each setting of a `bridge` section: flat, in a group, or with a dot."""
    for name, value in values.items():
        if name in GROUPS and is_object(value):
            for inner, one in value.items():
                yield SettingSpelling((name, str(inner)), setting_named(f"{name}.{inner}"), one)
        else:
            yield SettingSpelling((str(name),), setting_named(str(name)), value)


def flat_settings(values: Mapping[str, Any]) -> JsonObject:
    """Return settings by their flat keys. A name that is not a setting stays as it was written.

    :raises ConfigError: a setting has two different values.
    """
    flat: JsonObject = {}
    written: dict[str, str] = {}
    for one in spellings(values):
        key = one.key or one.name
        if key in flat and flat[key] != one.value:
            raise ConfigError(
                f"The setting {key!r} has two values, one as {written[key]!r} and another as {one.name!r}.",
                remedy="Keep one of them.",
            )
        flat[key], written[key] = one.value, one.name
    return flat


def merged_settings(*layers: Mapping[str, Any]) -> JsonObject:
    """Return flat settings of which later layers win. A secret and its file replace each other.

    :raises ConfigError: one layer has both a secret and its file.
    """
    merged: JsonObject = {}
    for layer in layers:
        for file, secret in FILE_SETTINGS.items():
            if file in layer and secret in layer:
                raise ConfigError(f"Both {secret!r} and {file!r} are set.", remedy="Keep one of them.")
            if file in layer:
                merged.pop(secret, None)
            elif secret in layer:
                merged.pop(file, None)
        merged.update(layer)
    return merged


def with_secret_files(values: JsonObject) -> JsonObject:
    """Return flat settings with secrets instead of the files that contain them. Line ends at the end are removed.

    :raises ConfigError: a file cannot be read.
    """
    if values.keys().isdisjoint(FILE_SETTINGS):
        return values
    read = dict(values)
    for file, secret in FILE_SETTINGS.items():
        if (place := read.pop(file, None)) is not None:
            read[secret] = _secret_in(place, file)
    return read


def _secret_in(place: Any, setting: str) -> str:
    if not isinstance(place, str) or not place.strip() or "\0" in place:
        raise ConfigError(f"Setting {setting} must be the path of a file.", remedy="Name a file with the secret.")
    path = Path(place).expanduser()
    try:
        status = path.stat()
        is_small = stat.S_ISREG(status.st_mode) and status.st_size <= _MAX_SECRET_BYTES
        text = path.read_text(encoding="utf-8-sig").rstrip("\r\n") if is_small else None
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8"
        raise ConfigError(
            f"Setting {setting}: {path} cannot be read: {why}.", remedy="Make it a readable text file."
        ) from None
    if text is None:
        raise ConfigError(
            f"Setting {setting}: {path} is not a file of at most {_MAX_SECRET_BYTES} bytes.",
            remedy="Name a file that contains only the secret.",
        )
    if not text.strip():
        raise ConfigError(f"Setting {setting}: {path} is empty.", remedy="Write the secret into the file.")
    return text


def setting_named(name: str) -> str | None:
    """Return the flat key of a setting from its flat or grouped name; None if there is no such setting.

    In its group a setting may omit a prefix that repeats the group's name: `log.level` is `log_level`. The setting
    `exposure` is called `mode` in its group.
    """
    group, dot, key = name.partition(".")
    if not dot:
        return name if name in BridgeSettings.model_fields or name in FILE_SETTINGS else None
    if group not in GROUPS:
        return None
    if (file := key if key in FILE_SETTINGS else f"{group}_{key}") in FILE_SETTINGS:
        return file if FILE_SETTINGS[file] in GROUPS[group].model_fields else None
    candidates = (key, f"{group}_{key}", group if key == "mode" else "")
    return next((candidate for candidate in candidates if candidate in GROUPS[group].model_fields), None)


def grouped_name(key: str) -> str:
    """Return the grouped name of a setting: `limits.concurrency` for `concurrency`."""
    named = FILE_SETTINGS.get(key, key)
    group = next(group for group, model in GROUPS.items() if named in model.model_fields)
    return f"{group}.mode" if key == group else f"{group}.{key.removeprefix(f'{group}_')}"


def nearest_setting(name: str) -> str | None:
    """Return the setting, by its grouped name, or the group that a wrong name most resembles."""
    from difflib import get_close_matches

    keys = list(BridgeSettings.model_fields)
    last = name.rpartition(".")[2]
    if last not in keys and "." in name and (near := get_close_matches(name, map(grouped_name, keys), n=1)):
        return near[0]
    near = get_close_matches(last, [*keys, *GROUPS], n=1)
    if not near:
        return None
    return grouped_name(near[0]) if near[0] in keys else near[0]


def settings_fault(error: ValidationError, where_of: Callable[[str], str]) -> ConfigError:
    """Return the first fault of settings as an error. `where_of` gives the place of a setting from its key."""
    first = error.errors(include_input=False, include_url=False)[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    place = f"{where_of(key)}: " if where_of(key) else ""
    if first["type"] != "extra_forbidden" or len(first["loc"]) > 1:
        return ConfigError(f"{place}Setting {explain(error)}.", remedy=SEE_SETTINGS)
    return unknown_setting(key, place)


def unknown_setting(name: str, place: str = "") -> ConfigError:
    """Return the error for a name that is not a setting, with the nearest one. `place` comes first in the message."""
    if name in GROUPS:
        return ConfigError(
            f"{place}{name!r} is a group of settings and must be an object.",
            remedy=f"Write, for example, `{name}: {{{next(iter(GROUPS[name].model_fields))}: …}}`.",
        )
    near = nearest_setting(name)
    return ConfigError(
        f"{place}{name[:80]!r} is not a setting.", remedy=f"Did you mean {near!r}?" if near else SEE_SETTINGS
    )
