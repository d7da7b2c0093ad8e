"""Why settings that a running server does not take over wait for the next start (docs/live.md)."""

from collections.abc import Mapping
from typing import Final

__all__ = ["RESTART_REASONS", "restart_reason"]

_LISTENS: Final = "the bridge listens there, and clients have the address"
_GATE: Final = "manuals that cannot be read again would keep what was allowed before"
_READERS: Final = "connections and workers keep the value with which they were opened"
_START: Final = "only the start uses it"
_AUDIT: Final = "one file has one chain, which begins with the start"
_FILE: Final = "the file is opened at the start, by the user who starts the bridge"
_SEARCH: Final = "what the search has learned and kept would be lost"
_STORE: Final = "several bridges share it, and calls in flight have state there"
_SHARED: Final = "several processes name what they share after it"
_HARDER: Final = "calls in flight and tools that are listed were made with it"

RESTART_REASONS: Final[Mapping[str, str]] = {
    "transport": "a host started this process for it", "host": _LISTENS, "port": _LISTENS, "path": _LISTENS,
    "state_key": "clients have states that are sealed with the former one",
    "insecure": "only who starts a bridge may open it to everyone",
    "meta_tools": "hosts and instructions name them",
    "ask_timeout": "questions to hosts are open, and states are sealed, for this time",
    "max_reply_bytes": _READERS, "max_file_bytes": _HARDER,
    "allow_networks": _GATE, "proxy": _GATE, "check_connections": "it watches the process from its start",
    "file_roots": _HARDER, "strict": _START, "fail_on_fault": _START, "reference_protocol_rules": _GATE,
    "pin": "the bridge compares tools from their first reading on",
    "token_store": "logins in use would be lost",
    "search_index": _SEARCH, "search_memory": _SEARCH, "search_store": _SEARCH,
    "log_format": "programs that read the log expect one form", "log_file": _FILE, "audit_log": _AUDIT,
    "access_log": _FILE, "watchdog_seconds": "its thread takes the value at the start",
    "audit_key": _AUDIT, "metrics": "counts begin with the start",
    "traces_per_second": "the tracer is made at the start",
    "tls_certificate": "write the new certificate into the same file, which is read again",
    "tls_key": "write the new key into the same file, which is read again",
    "workers": "the processes are started once, and connections belong to them",
    "store": _STORE, "store_password": _STORE, "store_prefix": _STORE, "store_timeout": _STORE,
    "post_processing": _HARDER, "tool_repository": "it holds the tools from the start on",
    "tool_search_strategy": "it holds the tools from the start on",
    "bearer_token": "the start makes and prints the token",
    "profile": _SHARED, "result_lifetime": "copies in the store have the former one",
    "max_kept_bytes": "without kept results there is no meta-tool that reads them",
}  # fmt: skip
"""The reasons by flat keys, and by keys of the client: all settings that never change while a bridge runs, and those
that do not in some cases."""


def restart_reason(name: str) -> str:
    """Return why a setting, by its grouped name, or a key of the client waits for the next start."""
    from utcp_bridge.settings import setting_named

    return RESTART_REASONS.get(setting_named(name) or name, "")
