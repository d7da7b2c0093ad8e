"""What `test_guard_of_every_kind` runs in a network of its own: each attempt at each inner address, with real packets.

Prints `{"refused": number, "other": [...], "hits": [...], "control": [...]}`. The argument names the event loop.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from typing import Any

import anyio
from tests.support import namespace
from tests.support.gate_cases import Attempt, attempts, stranger

from utcp_bridge.errors import PolicyError, UtcpError
from utcp_bridge.net.gate.connection_watch import watched
from utcp_bridge.testing.services import open_services
from utcp_bridge.transport import Services

_PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


async def _outcome(attempt: Attempt, services: Services, host: str, port: int, *, written: bool) -> str:
    source = stranger(host, port, written=written)
    try:
        with anyio.fail_after(60):
            if written:
                await services.guard.resolve(host, port, source)
            await attempt(services, source, host, port)
    except PolicyError:
        return "refused"
    except UtcpError as error:
        return f"{type(error).__name__}: {error.message}"
    return "connected"


async def _run(listener: namespace.Listener) -> dict[str, Any]:
    refused, other = 0, []
    for number, (name, attempt) in enumerate(attempts()):
        for address in namespace.INNER:
            dashed = address.replace(".", "-")
            first = namespace.PUBLIC.replace(".", "-")
            for host in (f"{dashed}.address.test", f"way{number}.first-{first}.then-{dashed}.test"):
                async with open_services() as services:
                    said = await _outcome(attempt, services, host, listener.port, written="first" in host)
                refused += said == "refused"
                other += [] if said == "refused" else [f"{name} {host}: {said}"]
    return {"refused": refused, "other": other, "hits": list(listener.hits)}


async def _through_proxies(listener: namespace.Listener) -> list[str]:
    """Call an allowed address while the environment names proxies at the inner ones. Return the ways tried."""
    proxy = f"http://{namespace.LOOPBACK}:{listener.port}"
    os.environ.update(dict.fromkeys(_PROXIES, proxy))
    os.environ["GRPC_ADDRESS_HTTP_PROXY"] = f"{namespace.LOOPBACK}:{listener.port}"
    os.environ["GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES"] = f"{namespace.PUBLIC}/32"
    os.environ["GRPC_DNS_RESOLVER"] = "native"
    host, port = namespace.PUBLIC, listener.port
    tried = []
    for name, attempt in attempts():
        if name.endswith(("call", "http")):
            async with open_services() as services:
                source = replace(stranger(host, port, written=True), trust=stranger(host, port).trust)
                with anyio.move_on_after(60):
                    try:
                        await attempt(services, source, host, port)
                    except UtcpError as error:
                        tried.append(f"{name}: {error.code}")
    return tried


async def _control(listener: namespace.Listener) -> list[str]:
    """Connect where an operator wrote the address, so that a listener which counts nothing is noticed."""
    before = len(listener.hits)
    async with open_services() as services:
        for name, attempt in attempts():
            if name in {"tcp: call", "udp: call", "grpc: call", "http: call"}:
                source = stranger(namespace.LOOPBACK, listener.port, written=True)
                with anyio.move_on_after(2):
                    try:
                        await attempt(services, source, namespace.LOOPBACK, listener.port)
                    except UtcpError:
                        continue
    return listener.hits[before:]


async def _main() -> None:
    listener = namespace.Listener()
    with watched():
        report = await _run(listener)
        report["proxied"] = await _through_proxies(listener)
        report["hits"] = list(listener.hits)
        report["control"] = await _control(listener)
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    with namespace.entered():
        anyio.run(_main, backend_options={"use_uvloop": sys.argv[1] == "uvloop"})
