"""`/metrics`: counts of calls and the state of the bridge, for Prometheus.

Labels name manuals and tools, so the page is not for everybody: it is served to programs on the same machine, or to
those that send `metrics_token`. A request that a proxy passed on does not come from this machine.
"""

from __future__ import annotations

import hmac
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import anyio

from utcp_bridge.console.visitors import is_here
from utcp_bridge.errors import MissingExtra
from utcp_bridge.server.replies import Header, Scope, Send, respond
from utcp_bridge.telemetry import trace_context
from utcp_bridge.telemetry.counting import EXTRA, Gauges, exposition

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.server.readiness import Readiness

__all__ = ["PATH", "MetricsPage"]

PATH: Final = "/metrics"


class MetricsPage:
    """Serves the metrics of one client."""

    def __init__(self, client: UtcpClient, readiness: Readiness) -> None:
        self._client = client
        self._readiness = readiness

    async def serve(self, scope: Scope, send: Send) -> None:
        """Serve one request, after the checks of Host and Origin."""
        if scope["method"] not in {"GET", "HEAD"}:
            await respond(send, 405, {"error": "method not allowed"}, [(b"allow", b"GET, HEAD")])
        elif (refused := self._refusal(scope)) is not None:
            await respond(send, *refused)
        else:
            try:
                text, kind = exposition(self._client.counts, self._gauges(), _totals())
            except ImportError:
                remedy = f"Install it with: {MissingExtra.install_line(EXTRA)}"
                missing = {
                    "error": "not installed",
                    "message": "Prometheus' library is not installed.",
                    "remedy": remedy,
                }
                await respond(send, 501, missing)
                return
            headers = [(b"content-type", kind.encode()), (b"content-length", str(len(text)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else text})

    def _refusal(self, scope: Scope) -> tuple[int, dict[str, str], list[Header]] | None:
        headers: list[Header] = scope["headers"]
        if (token := self._client.settings.metrics_token) is not None:
            given = [value for name, value in headers if name == b"authorization"]
            scheme, _, credential = (given[0] if len(given) == 1 else b"").strip().partition(b" ")
            if scheme.lower() == b"bearer" and hmac.compare_digest(
                credential.strip(), token.get_secret_value().encode()
            ):
                return None
            message = "The metrics need the token of the setting. Send it as the header `Authorization: Bearer TOKEN`."
            refusal = {"error": "unauthorized", "message": message, "setting": "metrics_token"}
            return 401, refusal, [(b"www-authenticate", b'Bearer realm="utcp-bridge metrics"')]
        if not is_here(scope):
            message = "Without `metrics_token`, only programs on the same machine can read the metrics."
            return 403, {"error": "not allowed", "message": message, "setting": "metrics_token"}, []
        return None

    def _gauges(self) -> Gauges:
        client, now = self._client, anyio.current_time()
        manuals = list(client.report())
        outages = client.outages()
        servers = Counter(server.status for server in client.servers())
        ready = [manual for manual in manuals if manual.status == "ready"]
        found: dict[str, tuple[str, dict[Any, float]]] = {
            "utcp_bridge_ready": (
                "1 if the server should get requests.",
                {(): float(self._readiness.is_ready() and not self._readiness.is_draining)},
            ),
            "utcp_bridge_manuals": (
                "Manuals by their state.",
                {(("state", one),): sum(m.status == one for m in manuals) for one in ("ready", "loading", "failed")},
            ),
            "utcp_bridge_tools": ("Live tools of each manual.", {(("manual", m.name),): m.tools for m in manuals}),
            "utcp_bridge_manual_age_seconds": (
                "Seconds since the tools of a manual first arrived.",
                {(("manual", m.name),): max(0.0, now - m.arrived) for m in ready},
            ),
            "utcp_bridge_breakers": (
                "Origins that calls are kept from (open), and those that the next call tries (half_open).",
                {
                    (("state", "open"),): sum(outage.seconds > 0 for outage in outages),
                    (("state", "half_open"),): sum(outage.seconds <= 0 for outage in outages),
                },
            ),
            "utcp_bridge_mcp_servers": (
                "MCP servers by their state.",
                {(("state", s),): n for s, n in servers.items()},
            ),
        }
        if client.audit_lost is not None:
            found["utcp_bridge_audit_lines_lost"] = ("Audit lines that were not written.", {(): client.audit_lost})
        return {name: (text, values) for name, (text, values) in found.items() if values}


def _totals() -> dict[str, tuple[str, float]]:
    number = trace_context.not_recorded()
    told = "Traces that began here and were not recorded because of `traces_per_second`."
    return {} if number is None else {"utcp_bridge_traces_not_recorded": (told, number)}
