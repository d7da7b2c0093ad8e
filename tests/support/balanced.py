"""Three bridges behind a balancer without affinity, with one Redis, all of them real processes on loopback."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any
from urllib.request import urlopen

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.interop.serving import free_port, serving
from tests.interop.software import Debian
from tests.support.redis_server import REDIS, RedisServer
from tests.upstreams.registry_service import served

HAPROXY = Debian("haproxy")
NGINX = Debian("nginx-light", program="nginx")
BALANCERS = {"haproxy": HAPROXY, "nginx": NGINX}
NEEDED = (REDIS, *BALANCERS.values())
ROOT = Path(__file__).parents[2]
REPLICAS = 3
RATE = 50
"""Calls a second of the manual `limited`."""
ROWS = 3_000
SLOW_SECONDS = 0.5
"""How long the tool `slow` takes: longer than the moment that a bridge gives to calls after its drain."""

FILES = {"haproxy": ROOT / "deploy" / "balancer" / "haproxy.cfg", "nginx": ROOT / "deploy" / "balancer" / "nginx.conf"}
"""What operators are given. The tests use other addresses, and no TLS."""
_AROUND_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_buffer_size 5m;  # its user cannot write in the folder of the test
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {file};
}}
"""


class Upstream:
    """The service behind the bridges. `names` are its tools besides those that are always there."""

    def __init__(self) -> None:
        self.names: list[str] = []
        routes = [Route("/echo", _echo), Route("/rows", _rows), Route("/slow", _slow)]
        manuals = [Route("/utcp", self._manual), Route("/limited", self._limited)]
        self.app = Starlette(routes=[*routes, *manuals])

    async def _manual(self, request: Request) -> JSONResponse:
        return JSONResponse(_manual(request, ["echo", "rows", "slow", *self.names]))

    async def _limited(self, request: Request) -> JSONResponse:
        return JSONResponse(_manual(request, ["echo"]))


def _manual(request: Request, names: Sequence[str]) -> dict[str, Any]:
    def tool(name: str) -> dict[str, Any]:
        path = name if name in {"echo", "rows", "slow"} else "echo"
        template = {"call_template_type": "http", "url": f"{request.base_url}{path}", "http_method": "GET"}
        inputs = {"type": "object", "properties": {"token": {"type": "string"}}}
        return {"name": name, "inputs": inputs, "tool_call_template": template}

    return {"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": [tool(name) for name in names]}


async def _echo(request: Request) -> JSONResponse:
    return JSONResponse({"token": request.query_params.get("token")})


async def _slow(request: Request) -> JSONResponse:
    await anyio.sleep(SLOW_SECONDS)
    return JSONResponse({"token": request.query_params.get("token")})


async def _rows(request: Request) -> JSONResponse:
    token = request.query_params.get("token")
    return JSONResponse([{"row": row, "token": token} for row in range(ROWS)])


@dataclass
class Balanced:
    """What runs. `urls` are those of the bridges themselves, `url` that of the balancer."""

    url: str
    urls: list[str]
    redis: RedisServer
    upstream: Upstream
    configure: Callable[[Sequence[Any], Mapping[str, Any]], None]
    """Gives all bridges other entries, besides those that are always there, and other settings."""
    bridges: list[Popen[bytes]] = field(default_factory=list[Popen[bytes]])

    def kill(self, place: int) -> None:
        """End a bridge without a word."""
        self.bridges[place].kill()
        self.bridges[place].wait()


@contextmanager
def balanced(
    balancer: str,
    folder: Path,
    *,
    store_timeout: float = 0.25,
    settings: Mapping[str, Any] | None = None,
    entries: Sequence[Any] = (),
    lines: Mapping[str, str] | None = None,
) -> Iterator[Balanced]:
    """Run everything, until the end of the block. The first bridge alone looks for changes of the manual.

    `settings` are further settings of all bridges, where `BALANCER` is the URL of the MCP endpoint at the balancer.
    `entries` are further manuals. `lines` are texts in the file of the balancer, each with what replaces it.
    """
    with ExitStack() as stack:
        redis = RedisServer(folder)
        stack.callback(redis.stop)
        redis.start()
        upstream = Upstream()
        service = stack.enter_context(served(upstream.app))
        port, *ports = (free_port() for _ in range(1 + REPLICAS))
        url = f"http://127.0.0.1:{port}/mcp"
        configs = [folder / f"bridge-{place}.json" for place in range(REPLICAS)]

        def configure(more: Sequence[Any], given: Mapping[str, Any]) -> None:
            for place, config in enumerate(configs):
                text = json.dumps(_configuration(service, place, more, given)).replace("BALANCER", url)
                fresh = config.with_suffix(".new")
                fresh.write_text(text, encoding="utf-8")
                fresh.replace(config)

        configure(entries, settings or {})
        variables = {**_variables(redis), "UTCP_BRIDGE_STORE_TIMEOUT": str(store_timeout)}
        found = Balanced(url, [f"http://127.0.0.1:{port}/mcp" for port in ports], redis, upstream, configure)
        for own, config in zip(ports, configs, strict=True):
            command = [sys.executable, "-m", "utcp_bridge", "serve", config, "--http", "--port", str(own)]
            bridge = serving(command, ready=lambda own=own: _is_ready(own), environment=variables)
            found.bridges.append(stack.enter_context(bridge))
        stack.enter_context(_balancer(balancer, folder, port, ports, lines or {}))
        yield found


def _configuration(service: str, place: int, more: Sequence[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    refresh = {"refresh_interval": 0.3 if place == 0 else 0}
    entries = [
        {"name": "m", "call_template_type": "http", "url": f"{service}/utcp", "http_method": "GET", **refresh},
        {"name": "limited", "call_template_type": "http", "url": f"{service}/limited", "rate_limit": RATE},
        *more,
    ]
    return {"manual_call_templates": entries, "bridge": {"exposure": "all", "max_result_bytes": 4_000, **settings}}


def _variables(redis: RedisServer) -> Mapping[str, str]:
    secret = "the same key for all of these replicas"
    return {**os.environ, "UTCP_BRIDGE_STORE": redis.url, "UTCP_BRIDGE_STATE_KEY": secret, "PYTHONPATH": str(ROOT)}


@contextmanager
def _balancer(kind: str, folder: Path, port: int, ports: Sequence[int], lines: Mapping[str, str]) -> Iterator[None]:
    path = folder / FILES[kind].name
    text = _placed(FILES[kind].read_text(encoding="utf-8"), port, ports)
    for before, after in lines.items():
        assert before in text
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")
    flags: tuple[str | Path, ...] = ("-db", "-f")
    if kind == "nginx":
        around = folder / "around.conf"
        around.write_text(_AROUND_NGINX.format(folder=folder, file=path), encoding="utf-8")
        path, flags = around, ("-p", folder, "-c")
    software = BALANCERS[kind]
    with serving([software.command, *flags, path], ready=lambda: _is_ready(port), environment=software.environment):
        yield


def _placed(text: str, port: int, ports: Sequence[int]) -> str:
    """Return the file of a balancer with the addresses of the test, and without TLS."""
    found = re.findall(r"^ *server (?:b\d )?bridge-\d.*$", text, re.MULTILINE)
    servers = [found[0].replace("bridge-1.example.com:8000", f"127.0.0.1:{own}") for own in ports]
    servers = [line.replace(" b1 ", f" b{place} ") for place, line in enumerate(servers, 1)]
    text = text.replace("\n".join(found), "\n".join(servers))
    text = re.sub(
        r"listen 443 ssl|bind :443 ssl crt \S+", lambda match: f"{match[0].split()[0]} 127.0.0.1:{port}", text
    )
    text = re.sub(r"^ *ssl_certificate.*\n", "", text, flags=re.MULTILINE)
    assert "example.com:8000" not in text
    return text


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=100) as reply:
            found = json.loads(reply.read())
    except (OSError, ValueError):
        return False
    return bool(found["ready"]) and found["store"] == "ready"
