"""What commands and MCP servers get of the environment of the bridge."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

from utcp_bridge.processes.systems import variables_of_commands

__all__ = ["CHILDREN_INHERIT", "inherited_environment"]

_NETWORK: Final = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
)  # fmt: skip
CHILDREN_INHERIT: Final = (*_NETWORK, *map(str.lower, _NETWORK), *variables_of_commands(()))
"""What every command and MCP server receives from the bridge besides its own few: proxies and certificates, which
programs need to download what they run, and on Windows what programs need to start."""


def inherited_environment(names: Iterable[str]) -> dict[str, str]:
    """Return the variables of the process environment with these names, for a child process."""
    environ = os.environ  # noqa: TID251 - for children, by name
    return {name: environ[name] for name in names if name in environ}
