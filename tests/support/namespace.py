"""Programs in a network of their own: with loopback, addresses of each class, and a server of names.

Nothing that is sent there can leave the machine, so a test may really send to a private, link-local or metadata
address, and count what arrives. Needs the rights to make namespaces (Linux; root, or user namespaces).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

PUBLIC = "198.51.100.7"
"""Stands for a public address."""
PRIVATE, METADATA, LOOPBACK = "10.77.0.1", "169.254.169.254", "127.0.0.1"
INNER = (LOOPBACK, PRIVATE, METADATA)
_ROOT = Path(__file__).parents[2]
_PROGRAMS = ("unshare", "ip", "mount")
_SECONDS = 300


def _unshare() -> list[str]:
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *as_root, "--net", "--mount", "--"]


def why_not() -> str | None:
    """Return why programs cannot have a network of their own here; None if they can."""
    if sys.platform != "linux":
        return "network namespaces exist on Linux only"
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        return f"{', '.join(missing)} is not installed"
    tried = subprocess.run([*_unshare(), "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"namespaces are not permitted here: {tried.stderr.strip()}"


def run_inside(module: str, *arguments: str, environment: dict[str, str] | None = None) -> Any:
    """Run a module in a network of its own, and return the JSON that it prints last. It uses `entered`."""
    done = subprocess.run(
        [*_unshare(), sys.executable, "-m", module, *arguments],
        cwd=_ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def entered() -> Generator[None]:
    """Set up the network of this process: addresses, and a program that serves names. Use it in a new namespace only.

    The names: `1-2-3-4.address.test` has the address 1.2.3.4. Names under `first-1-2-3-4.then-5-6-7-8.test` have the
    first address once, and then the second. Queries for names under `dead.test` get no reply, and those for names under
    `failing.test` the reply that the server failed; under `then-dead.test` and `then-failing.test`, after one address.
    """
    for command in (
        ["ip", "link", "set", "lo", "up"],
        *(["ip", "address", "add", f"{address}/32", "dev", "lo"] for address in (PUBLIC, PRIVATE, METADATA)),
    ):
        subprocess.run(command, check=True, capture_output=True)
    with tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False) as resolver:
        resolver.write(f"nameserver {LOOPBACK}\n")
    target = os.path.realpath("/etc/resolv.conf")
    subprocess.run(["mount", "--bind", resolver.name, target], check=True, capture_output=True)
    names = subprocess.Popen([sys.executable, "-m", __spec__.name], cwd=_ROOT, stdout=subprocess.PIPE)
    assert names.stdout is not None
    with names:
        try:
            names.stdout.readline()
            yield
        finally:
            names.kill()


def _serve_names() -> None:
    """Reply to queries. A line on stdout says that the port is open."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((LOOPBACK, 53))
    sys.stdout.write("\n")
    sys.stdout.flush()
    asked: set[str] = set()
    while True:
        query, peer = server.recvfrom(2048)
        reply = _reply(query, asked)
        if reply is not None:
            server.sendto(reply, peer)


def _reply(query: bytes, asked: set[str]) -> bytes | None:
    """Return the reply of DNS (RFC 1035) to a query with one question; an unknown name does not exist."""
    labels, position = [], 12
    while length := query[position]:
        labels.append(query[position + 1 : position + 1 + length].decode("ascii").lower())
        position += 1 + length
    is_ipv4, end = query[position + 2] == 1, position + 5
    address = _address(labels, asked) if is_ipv4 else None
    state = labels[-2] if address is None and len(labels) > 1 else ""
    if state in {"dead", "then-dead"}:
        return None
    if state in {"failing", "then-failing"}:
        return query[:2] + b"\x81\x82" + b"\0\1" + bytes(6) + query[12:end]
    known = labels[-1] == "test"
    found = b"" if address is None else b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(address)
    head = query[:2] + (b"\x81\x80" if known else b"\x81\x83") + b"\0\1" + bytes([0, int(bool(found))]) + b"\0\0\0\0"
    return head + query[12:end] + found


def _address(labels: list[str], asked: set[str]) -> str | None:
    if labels[-2:] == ["address", "test"]:
        return labels[-3].replace("-", ".")
    if labels[-1] != "test" or not labels[-2].startswith("then-"):
        return None
    name = ".".join(labels)
    chosen = labels[-2] if name in asked else labels[-3]
    asked.add(name)
    if chosen in {"then-dead", "then-failing"}:
        return None
    return chosen.partition("-")[2].replace("-", ".")


class Listener:
    """Counts the connections and datagrams that arrive at one port of the inner addresses, and of the public one."""

    def __init__(self) -> None:
        self.hits: list[str] = []
        """At the inner addresses, which nothing may reach."""
        self.public = Event()
        """Set when something arrives at the public address."""
        self.port = 0
        self._sockets: list[socket.socket] = []
        for address in (*INNER, PUBLIC):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                one = socket.socket(socket.AF_INET, kind)
                one.bind((address, self.port))
                self.port = one.getsockname()[1]
                self._sockets.append(one)
                Thread(target=self._count, args=(one, address), daemon=True).start()

    def _count(self, one: socket.socket, address: str) -> None:
        if one.type == socket.SOCK_STREAM:
            one.listen()
        while True:
            if one.type == socket.SOCK_STREAM:
                one.accept()[0].close()
            else:
                one.recv(2048)
            if address == PUBLIC:
                self.public.set()
            else:
                self.hits.append(f"{'tcp' if one.type == socket.SOCK_STREAM else 'udp'} {address}")


if __name__ == "__main__":
    _serve_names()
