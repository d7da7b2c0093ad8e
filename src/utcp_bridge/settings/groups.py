"""The settings of the bridge in groups: how it serves, what hosts see, how long it waits, and its limits.

The groups of who may call are in `access.py`.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

from utcp_bridge.late.libraries import import_pydantic
from utcp_bridge.late.patterns import late_pattern

__all__ = [
    "ArgumentCheck",
    "Count",
    "Exposure",
    "ExposureLimits",
    "ExposureSettings",
    "Frozen",
    "GeneratedToken",
    "HeaderName",
    "LimitSettings",
    "LogSettings",
    "MetaToolNames",
    "PolicySettings",
    "ProcessSettings",
    "ReplicaSettings",
    "ResilienceSettings",
    "SearchSettings",
    "Seconds",
    "ServerSettings",
    "Size",
    "Switch",
    "TelemetrySettings",
    "TimeoutSettings",
]

import_pydantic()
_PLACEHOLDER: Final = late_pattern(r"\$[({]|\{\{|\$\w+$|%\w+%$|<[^<>]*>$|YOUR_TOKEN$")
"""The beginning of a text that was to be replaced by a token."""
Exposure = Literal["auto", "all", "search", "pinned"]


def _word(value: object) -> object:
    return ("off", "on")[value] if isinstance(value, bool) else value


Switch = BeforeValidator(_word)
"""For the words `on` and `off`, which programs with YAML 1.1, such as Helm, pass on as true and false."""
ArgumentCheck = Annotated[Literal["strict", "warn", "off"], Switch]
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


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True, extra="forbid", hide_input_in_errors=True)


class MetaToolNames(Frozen):
    """Names under which the meta-tools are listed. None leaves one out."""

    search: str | None = "search_tools"
    call: str | None = "call_tool"
    read: str | None = "read_result"
    status: str | None = "bridge_status"


class ExposureLimits(Frozen):
    """How much the exposure `auto` lists before it changes to `search`."""

    tools: Count = 40
    tokens: Count = 10_000


class ServerSettings(Frozen):
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


class ExposureSettings(Frozen):
    """What hosts see of the tools."""

    exposure: Exposure = Field(
        default="auto",
        description="What `tools/list` shows: every tool (`all`), the meta-tools and the pinned tools (`search`), only "
        "the pinned tools (`pinned`), or every tool while there are few and `search` beyond that (`auto`).",
    )
    exposure_limits: ExposureLimits = Field(
        default=ExposureLimits.model_construct(),
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
        default=MetaToolNames.model_construct(), description="Names of the meta-tools. null leaves one out."
    )
    list_status: bool = Field(
        default=False,
        description="List the meta-tool `bridge_status`, which reports the manuals that are not loaded. Hosts can call "
        "it in any case: searches without a result and errors about unknown tools name it when a manual has failed. So "
        "it costs no tokens while all is well.",
    )
    follow_configuration: bool | Annotated[float, Field(ge=0.1, le=3_600)] = Field(
        default=True,
        description="`serve` looks at the files of its configuration, once a second or every N seconds, and "
        "takes over what has changed without a restart (docs/live.md). false: only after SIGHUP and "
        "`utcp-bridge reload`.",
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


class TimeoutSettings(Frozen):
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
    keep_alive_timeout: Seconds = Field(
        default=130.0,
        description="Seconds after which an HTTP connection without a request is closed. Let a balancer close its own "
        "sooner: nginx and AWS do after 60 seconds, Google Cloud after 600, Envoy after 3600.",
    )
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


class LimitSettings(Frozen):
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


class ResilienceSettings(Frozen):
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


class PolicySettings(Frozen):
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
    pin: Annotated[Literal["off", "warn", "refuse", "quarantine"], Switch] = Field(
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


class SearchSettings(Frozen):
    """What the search keeps, and what it learns from use."""

    search_index: Literal["memory", "disk"] = Field(
        default="disk",
        description="Where the search index of 1,000 tools and more, and the tools of large manuals without "
        "credentials, are kept: in files of the user (`disk`), so that the next start need not make them again, or in "
        "`memory` alone.",
    )
    search_memory: Annotated[Literal["off", "session", "disk"], Switch] = Field(
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


class LogSettings(Frozen):
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
        description="File that receives one JSON line per call, or `-` (stderr), `syslog` or `otlp`. It must not be a "
        "link or a pipe. Only its owner can read a new file. SIGHUP opens it again.",
    )
    access_log: str | None = Field(
        default=None,
        description="File that receives one JSON line per HTTP request, or `-` (stderr). It must not be a link or a "
        "pipe. Only its owner can read a new file. SIGHUP opens it again.",
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


class TelemetrySettings(Frozen):
    """What others may measure."""

    metrics: bool = Field(
        default=False,
        description="Count calls, and serve the counts to Prometheus at `/metrics` (http): to programs on the same "
        "machine, or with `metrics_token` to all that send it. Needs the extra `otel`.",
    )
    metrics_token: Annotated[SecretStr, AfterValidator(_token)] | None = Field(
        default=None, description="Token that a reader of `/metrics` must send, instead of being on the same machine."
    )
    traces_per_second: int = Field(
        default=100,
        ge=0,
        le=100_000,
        description="Traces that begin at the bridge and are recorded, a second and in each process. Those of callers "
        "do not count, and `OTEL_TRACES_SAMPLER` takes its place. 0: no limit.",
    )
    console: Annotated[Literal["auto", "on", "off"], Switch] = Field(
        default="auto",
        description="The console at `/` (http): for browsers on the same machine (`auto`), also for principals with "
        "the right to it from elsewhere (`on`), or none (`off`). Needs the extra `console`.",
    )


class ProcessSettings(Frozen):
    """How many processes serve."""

    workers: int = Field(default=1, ge=1, le=64, description="Processes that serve one address together (http).")


class ReplicaSettings(Frozen):
    """What several bridges behind one balancer share."""

    store: Annotated[str, Field(pattern=r"^(rediss?|unix)://")] | None = Field(
        default=None,
        repr=False,
        description="URL of the Redis or Valkey that several bridges share (`redis://`, `rediss://` for TLS, "
        "`unix://`): limits, kept results, approvals, what the search learned, and news of changes. Needs the extra "
        "`redis`.",
    )
    store_password: Annotated[SecretStr, AfterValidator(_token)] | None = Field(
        default=None, description="Password of the store, if its URL has none."
    )
    store_prefix: str = Field(
        default="utcp-replicas",
        pattern=r"^[A-Za-z0-9._:-]{1,64}$",
        description="Beginning of the names of all keys in the store. Bridges with the same one share their state.",
    )
    store_timeout: Seconds = Field(
        default=0.25, description="Seconds for one call of the store. Without a reply, the bridge goes on without it."
    )
