"""Settings: one frozen pydantic tree for the UTCP client's keys and for the bridge's own.

A key comes, in falling order, from the command line, a `UTCP_BRIDGE_<KEY>` environment variable, the
`bridge:` section of a configuration file, the default. docs/settings.md lists every key; a test keeps
the two equal. The keys of `UtcpClientConfig` are those of UTCP v1 (and `providers_file_path` of v0.2).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from utcp_bridge.errors import ConfigError
from utcp_bridge.model import JsonObject

__all__ = [
    "ENVIRONMENT_PREFIX",
    "BridgeSettings",
    "Exposure",
    "ExposureLimits",
    "ManualOptions",
    "MetaTools",
    "UtcpClientConfig",
    "explain",
    "settings_fault",
    "settings_from_environment",
]

ENVIRONMENT_PREFIX = "UTCP_BRIDGE_"
Exposure = Literal["auto", "all", "search", "pinned"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(gt=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class MetaTools(_Frozen):
    """Names under which the meta-tools are listed; None leaves one out."""

    search: str | None = "search_tools"
    call: str | None = "call_tool"


class ExposureLimits(_Frozen):
    """How much `auto` lists before it turns to search."""

    tools: Count = 128
    tokens: Count = 100_000


class BridgeSettings(_Frozen):
    """The bridge's own settings: at most 40, each with a default that suits a newcomer."""

    # serving
    transport: Literal["stdio", "http"] = Field(default="stdio", description="How to serve MCP: `stdio` or `http`.")
    host: str = Field(default="127.0.0.1", description="Address to listen on (http).")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port to listen on (http); 0 picks a free one.")
    path: str = Field(default="/mcp", pattern=r"^/", description="URL path of the MCP endpoint (http).")
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Further Host header values to accept, `name` or `name:port`; `name:*` for any port."
    )
    allowed_browser_origins: tuple[str, ...] = Field(default=(), description="Browser origins to accept (http).")
    bearer_token: SecretStr | None = Field(default=None, description="Token that HTTP clients must present.")
    insecure: bool = Field(default=False, description="Serve HTTP beyond loopback without a token.")

    # what hosts see
    naming: Literal["qualified", "short"] = Field(
        default="qualified", description="MCP names: `manual_tool`, or `tool` alone where that is unique."
    )
    aliases: Mapping[str, str] = Field(
        default_factory=dict, description="MCP name → UTCP name, for names of your own choice."
    )
    exposure: Exposure = Field(
        default="auto",
        description="What `tools/list` shows: every tool, the meta-tools and what is pinned (`search`), what is pinned "
        "alone, or every tool while there are few (`auto`).",
    )
    exposure_limits: ExposureLimits = Field(
        default=ExposureLimits(),
        description="`auto` lists every tool up to so many, and up to so many tokens of definitions (4 bytes each).",
    )
    exposure_by_client: Mapping[str, Exposure] = Field(
        default_factory=dict,
        description='Another exposure for clients by their names or globs: `{"cursor*": "search"}`.',
    )
    pinned: tuple[str, ...] = Field(default=(), description="UTCP names or globs that are listed in every exposure.")
    meta_tools: MetaTools = Field(default=MetaTools(), description="Names of the meta-tools; null leaves one out.")
    page_size: int = Field(default=500, ge=1, le=10_000, description="Tools per page of `tools/list`.")
    structured_content: Literal["schema", "always", "never"] = Field(
        default="schema", description="When results carry `structuredContent`: with an output schema, always, or never."
    )
    max_schema_bytes: Size = Field(
        default=16_384, description="Cap of one tool's listed input schema; hosts drop larger ones."
    )

    # time
    startup_wait: float = Field(default=8.0, ge=0, description="Seconds to wait for manuals before serving what is up.")
    discovery_timeout: Seconds = Field(default=20.0, description="Seconds for one manual's discovery.")
    call_timeout: Seconds = Field(default=55.0, description="Seconds for one call, wall clock.")
    stream_timeout: Seconds = Field(default=300.0, description="Seconds for one streaming call, wall clock.")
    idle_timeout: Seconds = Field(default=30.0, description="Seconds without data after which a stream ends.")
    refresh_interval: float = Field(
        default=0.0, ge=0, description="Seconds between re-reads of every manual; 0 is never."
    )

    # size and load
    max_manual_bytes: Size = Field(default=16 * 1024 * 1024, description="Cap of one fetched manual, decoded.")
    max_tools: Size = Field(default=20_000, description="Cap of tools in one manual.")
    max_reply_bytes: Size = Field(default=10 * 1024 * 1024, description="Cap of one upstream reply, decoded.")
    max_result_bytes: Size = Field(
        default=1_000_000, description="Cap of one MCP result's text; more is cut with a notice."
    )
    max_stream_events: Size = Field(default=10_000, description="Cap of partial results in one stream.")
    concurrency: Size = Field(default=32, description="Calls in flight per manual.")
    queue: Count = Field(default=128, description="Calls waiting per manual; further ones are refused as busy.")
    rate_limit: float | None = Field(default=None, gt=0, description="Calls per second per manual; null is no limit.")
    retries: int = Field(default=2, ge=0, le=10, description="Retries of idempotent calls after a transient failure.")

    # policy and records
    allow_networks: tuple[str, ...] = Field(
        default=(), description="CIDRs beyond public addresses that tools may reach."
    )
    proxy: str | None = Field(default=None, description="HTTP proxy for upstream calls; it then checks the addresses.")
    strict: bool = Field(
        default=False, description="Exit when any manual or tool has a fault; reference protocol rules."
    )
    pin: Literal["off", "warn", "refuse"] = Field(
        default="warn", description="When a tool's definition changes on refresh: nothing, a log line, or withhold it."
    )
    audit_log: str | None = Field(default=None, description="File that receives one JSON line per call; `-` is stderr.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log line shown."
    )
    log_format: Literal["text", "json"] = Field(default="text", description="Form of the log lines on stderr.")


class ManualOptions(_Frozen):
    """Keys that only the operator may write beside a manual's call template."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    trusted: bool = False
    allowed_origins: tuple[str, ...] = ()
    allow_networks: tuple[str, ...] = ()
    allowed_communication_protocols: tuple[str, ...] | None = None
    base_url: str | None = None
    auth_tools: JsonObject | None = None
    server_variables: Mapping[str, str] = Field(default_factory=dict)
    include: JsonObject | None = None
    exclude: JsonObject | None = None
    overrides: Mapping[str, JsonObject] = Field(default_factory=dict)
    verify_ssl: bool = True
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    server_name: str | None = None
    proxy: str | None = None
    call_timeout: Seconds | None = None
    discovery_timeout: Seconds | None = None
    concurrency: Size | None = None
    queue: Count | None = None
    rate_limit: float | None = Field(default=None, gt=0)
    retries: int | None = Field(default=None, ge=0, le=10)
    max_reply_bytes: Size | None = None
    refresh_interval: float | None = Field(default=None, ge=0)
    sha256: str | None = Field(default=None, pattern="^[0-9a-fA-F]{64}$")
    registry: str | None = None


class UtcpClientConfig(BaseModel):
    """A UTCP client's configuration (UTCP v1 client config; v0.2 keys are read too)."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    variables: Mapping[str, Any] = Field(default_factory=dict, repr=False)
    load_variables_from: tuple[JsonObject, ...] = ()
    tool_repository: JsonObject | None = None
    tool_search_strategy: JsonObject | None = None
    post_processing: tuple[JsonObject, ...] = ()
    manual_call_templates: tuple[JsonObject, ...] = Field(default=(), repr=False)
    registries: tuple[JsonObject, ...] = Field(default=(), repr=False)
    bridge: BridgeSettings = BridgeSettings()


def explain(error: ValidationError) -> str:
    """One sentence for the first fault of a pydantic error: field, expectation; never the value."""
    first = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "the value"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{field}: {first['msg']}{more}"


def settings_fault(error: ValidationError, where_of: Callable[[str], str]) -> ConfigError:
    """The first fault of settings, with the place of the setting as `where_of` gives it by its key."""
    first = error.errors(include_input=False, include_url=False)[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    place = f"{where_of(key)}: " if where_of(key) else ""
    if first["type"] != "extra_forbidden" or len(first["loc"]) > 1:
        return ConfigError(f"{place}Setting {explain(error)}.", remedy="docs/settings.md lists the settings.")
    from difflib import get_close_matches

    near = get_close_matches(key, BridgeSettings.model_fields, n=1)
    remedy = f"Did you mean {near[0]!r}?" if near else "docs/settings.md lists the settings."
    return ConfigError(f"{place}{key!r} is not a setting.", remedy=remedy)


def settings_from_environment(environ: Mapping[str, str] | None = None) -> JsonObject:
    """Read `UTCP_BRIDGE_<KEY>` variables: values as JSON where they parse, lists also by commas.

    Returns only the keys that are set. Raises ConfigError for a name that is no setting.
    """
    environ = os.environ if environ is None else environ  # noqa: TID251 - settings come from the environment
    found: JsonObject = {}
    for name, text in environ.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or not text:
            continue
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
        field = BridgeSettings.model_fields.get(key)
        if field is None:
            raise ConfigError(f"{name} is not a setting.", remedy="docs/settings.md lists the settings.")
        found[key] = _parse(text, as_list=isinstance(field.default, tuple), as_text=_is_text(field.annotation))
    return found


def _is_text(annotation: Any) -> bool:
    return annotation is str or annotation == (str | None) or annotation == (SecretStr | None)


def _parse(text: str, *, as_list: bool, as_text: bool) -> Any:
    if as_text:
        return text
    if as_list and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
