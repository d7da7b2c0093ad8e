"""Where the implementations come from that the conformance kit has adapters for."""

from __future__ import annotations

from typing import Final

from tests.interop.software import Npm, PyPI, Software

_PLUGINS = "http==1.1.15 cli==1.1.5 file==1.1.0 gql==1.1.6 mcp==1.2.0 socket==1.1.1 text==1.1.0 websocket==1.2.1"

IMPLEMENTATIONS: Final[dict[str, Software]] = {
    "python-utcp": PyPI("utcp==1.2.0 " + " ".join(f"utcp-{plugin}" for plugin in _PLUGINS.split()), program="python"),
    "python-utcp-0": PyPI("utcp==0.2.3 mcp<2", program="python"),
    "utcp-sdk": Npm("@utcp/sdk@1.1.2 @utcp/http@1.1.11 @utcp/mcp@1.1.3 @utcp/text@1.1.0"),
}
