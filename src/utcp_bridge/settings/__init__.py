"""Settings: the UTCP client's own keys, and the bridge's in groups. All models are frozen.

A value comes, in falling order, from the command line, a `UTCP_BRIDGE_<KEY>` environment variable, the `bridge:`
section of a configuration file, and the default. Each setting has a flat key (`concurrency`) and a key in its group
(`limits.concurrency`). Both work in files, variables and on the command line. Code reads the flat attribute; code that
needs one group only takes that group's class, which `BridgeSettings` inherits from. The keys of `UtcpClientConfig` are
those of UTCP v1 (and `providers_file_path` of v0.2). A secret setting can also come from a file: `bearer_token_file`
for `bearer_token`, `proxy_file` for `proxy`.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from utcp_bridge.errors import ConfigError, expectation, explain
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.settings.access import ACCESS_GROUPS, AccessSettings, OAuthSettings, TlsSettings, forwardable

__all__ = [
    "FILE_SETTINGS", "GENERATED_TOKEN", "GROUPS", "SEE_SETTINGS", "AccessSettings", "ArgumentCheck", "BridgeSettings",
    "Exposure", "ExposureLimits", "ExposureSettings", "GeneratedToken", "LimitSettings", "LogSettings",
    "ManualOptions", "MetaToolNames", "PolicySettings", "ProcessSettings", "ResilienceSettings", "SearchSettings",
    "ServerSettings", "SettingSpelling", "TelemetrySettings", "TimeoutSettings", "UtcpClientConfig", "expectation",
    "explain", "flat_settings", "grouped_name", "merged_settings", "nearest_setting", "setting_named",
    "settings_fault", "spellings", "unknown_setting", "with_secret_files",
]  # fmt: skip

SEE_SETTINGS: Final = "`utcp-bridge help settings` lists the settings."
"""The remedy for a wrong setting."""
_SECRETS: Final = (
    "audit_key", "bearer_token", "metrics_token", "oauth_client_secret", "proxy", "search_store", "state_key",
    "token_store",
)  # fmt: skip
FILE_SETTINGS: Final = {f"{name}_file": name for name in _SECRETS}
"""The settings that name a file with a secret, and the secret setting that each gives."""
GENERATED_TOKEN: Final = "generate"  # noqa: S105 - asks for a token
"""The value of `bearer_token` for which `serve` makes a token."""
_MAX_SECRET_BYTES: Final = 64 * 1024
_PLACEHOLDER: Final = re.compile(r"\$[({]|\{\{|\$\w+$|%\w+%$|<[^<>]*>$|YOUR_TOKEN$")
"""The beginning of a text that was to be replaced by a token."""
Exposure = Literal["auto", "all", "search", "pinned"]
ArgumentCheck = Literal["strict", "warn", "off"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(gt=0)]
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$")]


def _host(value: str) -> str:
    if "/" in value:
        raise PydanticCustomError("host", "A host is written as `name`, `name:port` or `name:*`, without https://")
    return value


def _origin(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if value != "null" and not (scheme and separator and rest and "/" not in rest):
        raise PydanticCustomError("origin", "An origin is written as `https://name`, without a path or a final slash")
    return value


def _token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.strip():
        raise PydanticCustomError("token", "The token is empty; set it, or remove the setting")
    if text != text.strip() or any(ord(character) < ord(" ") or character == "\x7f" for character in text):
        raise PydanticCustomError("token", "The token has a blank at an end or a control character; remove it")
    if _PLACEHOLDER.match(text) or "${" in text:
        raise PydanticCustomError(
            "token", "The token is a placeholder that was not replaced; write the token, or a variable as ${NAME}"
        )
    return value


class GeneratedToken(SecretStr):
    """A token that `serve` made, and therefore prints."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", hide_input_in_errors=True)


class MetaToolNames(_Frozen):
    """Names under which the meta-tools are listed. None leaves one out."""

    search: str | None = "search_tools"
    call: str | None = "call_tool"
    read: str | None = "read_result"
    status: str | None = "bridge_status"


class ExposureLimits(_Frozen):
    """How much the exposure `auto` lists before it changes to `search`."""

    tools: Count = 40
    tokens: Count = 10_000


class ServerSettings(_Frozen):
    """How MCP is served."""

    transport: Literal["stdio", "http"] = Field(default="stdio", description="How to serve MCP: `stdio` or `http`.")
    host: str = Field(default="127.0.0.1", description="Address to listen on (http).")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port to listen on (http). 0 picks a free one.")
    path: str = Field(default="/mcp", pattern=r"^/", description="URL path of the MCP endpoint (http).")
    allowed_hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = Field(
        default=(), description="More Host header values to accept, `name` or `name:port`; `name:*` for any port."
    )
    allowed_browser_origins: tuple[Annotated[str, AfterValidator(_origin)], ...] = Field(
        default=(), description="Browser origins to accept (http), such as `https://app.example`."
    )
    bearer_token: Annotated[SecretStr, AfterValidator(_token)] | None = Field(
        default=None,
        description="Token that HTTP clients must send, at least 16 characters beyond loopback. `generate` makes a new "
        "one at each start of `serve` and prints it.",
    )
    state_key: Annotated[SecretStr, Field(min_length=32), AfterValidator(_token)] | None = Field(
        default=None, description="Secret for `requestState`, the same for all replicas. null makes one at the start."
    )
    insecure: bool = Field(default=False, description="Serve HTTP beyond loopback without a token.")
    max_connections: Size = Field(
        default=1_000,
        description="Most HTTP connections at once, and never more than half of the files that the process may open.",
    )
    max_connections_per_address: Size | None = Field(
        default=256,
        description="Most HTTP connections at once from one address beyond loopback. null sets no limit. With "
        "`insecure`, all clients come through one proxy, and the limit is not applied.",
    )
    max_sessions: Size = Field(
        default=10_000, description="Most MCP sessions kept (http). A client can use one that was forgotten."
    )


class ExposureSettings(_Frozen):
    """What hosts see of the tools."""

    exposure: Exposure = Field(
        default="auto",
        description="What `tools/list` shows: every tool (`all`), the meta-tools and the pinned tools (`search`), only "
        "the pinned tools (`pinned`), or every tool while there are few and `search` beyond that (`auto`).",
    )
    exposure_limits: ExposureLimits = Field(
        default=ExposureLimits(),
        description="Most tools, and most tokens of their definitions (4 bytes each), that `auto` lists in full. "
        "Unless you set them, a host that searches the list itself (Claude Code) gets up to 500 tools and 500,000 "
        "tokens.",
    )
    exposure_by_client: Mapping[str, Exposure] = Field(
        default_factory=dict,
        description='Another exposure for clients whose names match a glob: `{"cursor*": "search"}`.',
    )
    pinned: tuple[str, ...] = Field(default=(), description="UTCP names or globs of tools that every exposure lists.")
    naming: Literal["qualified", "short"] = Field(
        default="qualified", description="MCP names: `manual_tool`, or `tool` alone if only one manual has it."
    )
    aliases: Mapping[str, str] = Field(
        default_factory=dict, description="MCP name → UTCP name, for MCP names that you choose."
    )
    meta_tools: MetaToolNames = Field(
        default=MetaToolNames(), description="Names of the meta-tools. null leaves one out."
    )
    list_status: bool = Field(
        default=False,
        description="List the meta-tool `bridge_status`, which reports the manuals that are not loaded. Hosts can call "
        "it in any case: searches without a result and errors about unknown tools name it when a manual has failed. So "
        "it costs no tokens while all is well.",
    )
    follow_configuration: bool = Field(
        default=True,
        description="`serve` reads its configuration again when one of its files, or `.env`, changes: manuals are "
        "added, replaced and removed without a restart. Settings take effect at the next start.",
    )
    page_size: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Most tools of one page of `tools/list`. null: a page ends only where it would become too large.",
    )
    structured_content: Literal["schema", "always", "never"] = Field(
        default="schema",
        description="When results carry `structuredContent`: if the tool lists an output schema, always, or never.",
    )
    max_schema_bytes: Size = Field(
        default=16_384, description="Most bytes of one tool's listed input schema. Hosts drop larger ones."
    )


class TimeoutSettings(_Frozen):
    """How long the bridge waits."""

    startup_wait: float = Field(
        default=8.0, ge=0, description="Seconds to wait for manuals at the start before serving those that are ready."
    )
    startup_settle: float = Field(
        default=1.5,
        ge=0,
        description="Seconds without another manual after which `tools/list` at the start returns the tools that have "
        "arrived, if some have. It announces the others when they come.",
    )
    drain_seconds: float = Field(
        default=5.0, ge=0, le=3_600, description="Seconds that HTTP goes on after SIGTERM for requests in flight."
    )
    discovery_timeout: Seconds = Field(default=20.0, description="Seconds for one manual's discovery.")
    call_timeout: Seconds = Field(default=55.0, description="Seconds for one call, wall clock.")
    stream_timeout: Seconds = Field(default=300.0, description="Seconds for one streaming call, wall clock.")
    idle_timeout: Seconds = Field(default=30.0, description="Seconds without data after which a stream ends.")
    ask_timeout: Seconds = Field(default=300.0, description="Seconds for an answer of the client to an MCP server.")
    deadline_header: HeaderName | None = Field(
        default=None,
        description="HTTP header with the seconds that a call has left; milliseconds if its name ends with `-ms`.",
    )
    refresh_interval: float = Field(
        default=0.0, ge=0, description="Seconds between two readings of a manual. 0 reads it once."
    )
    result_lifetime: Seconds = Field(
        default=600.0,
        description="Seconds for which a client can read the rest of a cut result, from its last reading.",
    )


class LimitSettings(_Frozen):
    """How much, and how many at once."""

    max_manual_bytes: Size = Field(
        default=16 * 1024 * 1024,
        description="Most bytes of one fetched manual, decoded, and of all pages of one list of an MCP server.",
    )
    max_tools: Size = Field(
        default=20_000, description="Most tools of one manual, and most entries of one list of an MCP server."
    )
    max_reply_bytes: Size = Field(default=10 * 1024 * 1024, description="Most bytes of one upstream reply, decoded.")
    max_result_bytes: Size = Field(
        default=100_000,
        description="Most bytes of one MCP result, text and structure together, at least 8,192. A larger one is cut in "
        "whole rows and members, and the rest is kept for `read_result`. Hosts with a known limit get less.",
    )
    max_result_bytes_by_client: Mapping[str, Size] = Field(
        default_factory=dict,
        description='Another `max_result_bytes` for clients whose names match a glob: `{"claude-code*": 200000}`.',
    )
    max_kept_bytes: Count = Field(
        default=16 * 1024 * 1024,
        description="Most bytes of cut results that `read_result` can read, compressed. The oldest go first; 0: none.",
    )
    max_file_bytes: Size = Field(
        default=10 * 1024 * 1024, description="Most bytes of the files that one call names, see `file_roots`."
    )
    max_stream_events: Size = Field(default=10_000, description="Most partial results of one stream.")
    concurrency: Size = Field(default=128, description="Most calls at the same time per manual.")
    queue: Count = Field(
        default=1_024,
        description="Most waiting calls per manual. The bridge refuses more as busy. Waiting clients take turns.",
    )
    rate_limit: float | None = Field(
        default=None, gt=0, description="Most calls per second per manual. null: no limit."
    )
    retries: int = Field(default=2, ge=0, le=10, description="Most retries of an idempotent call that failed for now.")


class ResilienceSettings(_Frozen):
    """What happens while an upstream fails."""

    breaker_failures: Count = Field(
        default=5,
        description="Failures in a row (no connection, a broken connection, a deadline) after which calls to an origin "
        "are refused for a while. 0 refuses none.",
    )
    breaker_pause: Seconds = Field(
        default=1.0, description="Seconds until the first call tries a failing origin again. The pauses grow by half."
    )
    breaker_max_pause: Seconds = Field(
        default=30.0, description="Most seconds until a call tries a failing origin again."
    )
    retry_share: float | None = Field(
        default=0.2,
        ge=0,
        le=10,
        description="Most retries for each call of a manual, on average. Three calls may always use all their "
        "`retries`. null sets no limit.",
    )


class PolicySettings(_Frozen):
    """What tools may reach, and how strict the bridge is."""

    allow_networks: tuple[str, ...] = Field(
        default=(), description="CIDRs beyond public addresses that tools may reach."
    )
    proxy: str | None = Field(
        default=None, repr=False, description="HTTP proxy for upstream calls. The proxy then checks the addresses."
    )
    check_connections: bool = Field(
        default=False,
        description="Stop each connection of the bridge's process to an address that the address gate has not checked: "
        "a second lock, for libraries that connect by themselves. It does not see gRPC's own sockets and child "
        "processes.",
    )
    file_roots: tuple[str, ...] = Field(
        default=(),
        description="Folders in which callers may name files, to be read for arguments of bytes, and to be written "
        "with `output_path`. Relative to the configuration. Without folders, no file is read or written.",
    )
    strict: bool = Field(
        default=False,
        description="Warnings count like errors: `serve` exits at the start, and `check` and `doctor` end with an exit "
        "code, if the configuration, a manual or a tool has a fault or a warning.",
    )
    fail_on_fault: bool | None = Field(
        default=None, description="Another name of `strict`, which it replaces if it is set."
    )
    reference_protocol_rules: bool | None = Field(
        default=None,
        description="Refuse tools of a type that differs from their manual's, as the reference library does, also in "
        "local manuals. In version 0.1.0 `strict` did that too; set both for the same effect.",
    )
    validation: ArgumentCheck = Field(
        default="strict",
        description="If arguments do not fit the tool's schema after the lenient reading: refuse the call (`strict`), "
        "or write a log line and send them (`warn`). `off` sends arguments unread and unchecked. Arguments that the "
        "tool does not declare are refused (`strict`) or left out.",
    )
    pin: Literal["off", "warn", "refuse", "quarantine"] = Field(
        default="warn",
        description="What to do with a tool of others that changed, or a prompt or the instructions of an MCP server: "
        "nothing (`off`), a log line (`warn`), withhold it (`refuse`), or withhold what is new too (`quarantine`). "
        "If you set it, approved hashes last in `utcp.lock`.",
    )
    dotenv: bool = Field(
        default=True,
        description="Read variables from the file `.env` next to the configuration, after all other sources. A "
        "configuration that comes from a URL has no such file.",
    )
    token_store: str = Field(
        default="file",
        repr=False,
        description="Store of logins: `memory`, `file`, `file:PATH`, `keyring`, Redis URL.",
    )
    client_metadata_url: str | None = Field(default=None, description="https URL of this client's metadata for OAuth.")

    @property
    def fails_on_fault(self) -> bool:
        """Whether a fault or a warning at the start ends the program."""
        return self.strict if self.fail_on_fault is None else self.fail_on_fault

    @property
    def follows_reference_protocol_rules(self) -> bool:
        """Whether local manuals, too, may use only their own protocol unless the operator allows more."""
        return bool(self.reference_protocol_rules)


class SearchSettings(_Frozen):
    """What the search learns from use."""

    search_memory: Literal["off", "session", "disk"] = Field(
        default="session",
        description="Whether a tool that is called after a search is ranked higher for such searches, by the words of "
        "the search, never its text: not at all (`off`), during the client's session (`session`), or longer, in "
        "`search_store` (`disk`). Each client has its own.",
    )
    search_store: str = Field(
        default="file",
        repr=False,
        description="Where `search_memory: disk` keeps the words: `file`, `file:PATH`, or a Redis URL for replicas.",
    )


class LogSettings(_Frozen):
    """What the bridge records."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least severe lines.")
    log_format: Literal["text", "json"] = Field(default="text", description="Form of the log lines on stderr.")
    log_file: str | None = Field(
        default=None,
        description="File that receives the log lines instead of stderr. It must not be a link or a pipe. Only its "
        "owner can read a new file. SIGHUP opens it again.",
    )
    audit_log: str | None = Field(
        default=None,
        description="File that receives one JSON line per call, or `-` (stderr), or `syslog`. It must not be a link "
        "or a pipe. Only its owner can read a new file. SIGHUP opens it again.",
    )
    watchdog_seconds: float = Field(
        default=2.0, ge=0, description="Seconds after which the log shows why the event loop stands still. 0: never."
    )
    audit_arguments: Literal["none", "names", "digest", "full"] = Field(
        default="none",
        description="What the audit log has of the arguments: nothing, the names, a keyed digest, or all of them with "
        "secrets masked. A caller chooses the names, too.",
    )
    audit_key: Annotated[SecretStr, Field(min_length=16), AfterValidator(_token)] | None = Field(
        default=None,
        description="Secret of the audit log's hashes and digests. null: anyone can compute the hashes, and digests "
        "differ from start to start.",
    )
    audit_max_bytes: Count = Field(
        default=0, description="Bytes of the audit log after which it goes on in a new file. 0: never."
    )
    audit_max_age: float = Field(
        default=0, ge=0, description="Seconds after which the audit log goes on in a new file. 0: never."
    )
    audit_keep: Size = Field(default=10, description="Most old files of the audit log, `NAME.1` and so on.")


class TelemetrySettings(_Frozen):
    """What others may measure."""

    metrics: bool = Field(
        default=False,
        description="Count calls, and serve the counts to Prometheus at `/metrics` (http): to programs on the same "
        "machine, or with `metrics_token` to all that send it. Needs the extra `otel`.",
    )
    metrics_token: Annotated[SecretStr, AfterValidator(_token)] | None = Field(
        default=None, description="Token that a reader of `/metrics` must send, instead of being on the same machine."
    )


class ProcessSettings(_Frozen):
    """How many processes serve."""

    workers: int = Field(default=1, ge=1, le=64, description="Processes that serve one address together (http).")


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


class ManualOptions(_Frozen):
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
