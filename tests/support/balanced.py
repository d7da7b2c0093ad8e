"""Three bridges behind a balancer without affinity, with one Redis, all of them real processes on loopback."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any
from urllib.request import urlopen

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

_HAPROXY = """
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout check 2s
  option redispatch
  retries 3
frontend front
  bind 127.0.0.1:{port}
  default_backend bridges
backend bridges
  balance roundrobin
  option httpchk GET /readyz
{servers}
"""
_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream bridges {{
{servers}
    keepalive 32;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://bridges;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_buffering off;
      proxy_read_timeout 3600s;
    }}
  }}
}}
"""


class Upstream:
    """The service behind the bridges. `names` are its tools besides those that are always there."""

    def __init__(self) -> None:
        self.names: list[str] = []
        routes = [Route("/echo", _echo), Route("/rows", _rows)]
        manuals = [Route("/utcp", self._manual), Route("/limited", self._limited)]
        self.app = Starlette(routes=[*routes, *manuals])

    async def _manual(self, request: Request) -> JSONResponse:
        return JSONResponse(_manual(request, ["echo", "rows", *self.names]))

    async def _limited(self, request: Request) -> JSONResponse:
        return JSONResponse(_manual(request, ["echo"]))


def _manual(request: Request, names: Sequence[str]) -> dict[str, Any]:
    def tool(name: str) -> dict[str, Any]:
        path = name if name in {"echo", "rows"} else "echo"
        template = {"call_template_type": "http", "url": f"{request.base_url}{path}", "http_method": "GET"}
        inputs = {"type": "object", "properties": {"token": {"type": "string"}}}
        return {"name": name, "inputs": inputs, "tool_call_template": template}

    return {"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": [tool(name) for name in names]}


async def _echo(request: Request) -> JSONResponse:
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
    bridges: list[Popen[bytes]] = field(default_factory=list[Popen[bytes]])

    def kill(self, place: int) -> None:
        """End a bridge without a word."""
        self.bridges[place].kill()
        self.bridges[place].wait()


@contextmanager
def balanced(balancer: str, folder: Path, *, store_timeout: float = 0.25) -> Iterator[Balanced]:
    """Run everything, until the end of the block. The first bridge alone looks for changes of the manual."""
    with ExitStack() as stack:
        redis = RedisServer(folder)
        stack.callback(redis.stop)
        redis.start()
        upstream = Upstream()
        service = stack.enter_context(served(upstream.app))
        ports = [free_port() for _ in range(REPLICAS)]
        variables = {**_variables(redis), "UTCP_BRIDGE_STORE_TIMEOUT": str(store_timeout)}
        found = Balanced("", [f"http://127.0.0.1:{port}/mcp" for port in ports], redis, upstream)
        for place, port in enumerate(ports):
            config = folder / f"bridge-{place}.json"
            config.write_text(json.dumps(_configuration(service, place)), encoding="utf-8")
            command = [sys.executable, "-m", "utcp_bridge", "serve", config, "--http", "--port", str(port)]
            bridge = serving(command, ready=lambda port=port: _is_ready(port), environment=variables)
            found.bridges.append(stack.enter_context(bridge))
        port = free_port()
        stack.enter_context(_balancer(balancer, folder, port, ports))
        found.url = f"http://127.0.0.1:{port}/mcp"
        yield found


def _configuration(service: str, place: int) -> dict[str, Any]:
    refresh = {"refresh_interval": 0.3 if place == 0 else 0}
    entries = [
        {"name": "m", "call_template_type": "http", "url": f"{service}/utcp", "http_method": "GET", **refresh},
        {"name": "limited", "call_template_type": "http", "url": f"{service}/limited", "rate_limit": RATE},
    ]
    return {"manual_call_templates": entries, "bridge": {"exposure": "all", "max_result_bytes": 4_000}}


def _variables(redis: RedisServer) -> Mapping[str, str]:
    secret = "the same key for all of these replicas"
    return {**os.environ, "UTCP_BRIDGE_STORE": redis.url, "UTCP_BRIDGE_STATE_KEY": secret, "PYTHONPATH": str(ROOT)}


@contextmanager
def _balancer(kind: str, folder: Path, port: int, ports: Sequence[int]) -> Iterator[None]:
    if kind == "haproxy":
        servers = [f"  server b{port} 127.0.0.1:{port} check inter 200ms fall 2 rise 1" for port in ports]
        text, flags = _HAPROXY, ("-db", "-f")
    else:
        servers = [f"    server 127.0.0.1:{port} max_fails=1 fail_timeout=1s;" for port in ports]
        text, flags = _NGINX, ("-p", str(folder), "-c")
    path = folder / f"{kind}.conf"
    path.write_text(text.format(port=port, folder=folder, servers="\n".join(servers)), encoding="utf-8")
    software = BALANCERS[kind]
    with serving([software.command, *flags, path], ready=lambda: _is_ready(port), environment=software.environment):
        yield


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=100) as reply:
            found = json.loads(reply.read())
    except (OSError, ValueError):
        return False
    return bool(found["ready"]) and found["store"] == "ready"
