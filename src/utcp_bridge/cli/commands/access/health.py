"""`utcp-bridge health`: whether the bridge of a container or of a process is alive, for its supervisor.

Nothing has to be said about the address. The ports on which the process and its workers listen are in /proc, so they
are right whether the command line, a variable or the configuration set them.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.options import debug_option
from utcp_bridge.cli.output import complain, print_line
from utcp_bridge.cli.program import NAMES

__all__ = ["health"]

_PROC: Final = Path("/proc")
_SECONDS: Final = 2.0
_LISTENS: Final = "0A"
"""The state of a listening socket in /proc/net/tcp."""
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - it is compared with
_OK: Final = 200
_UNAVAILABLE: Final = 503


@click.command(
    epilog="""\b
Examples:
  utcp-bridge health                     in a container: its process 1
  utcp-bridge health --pid 4711 --ready
\b
Exit codes:
  0   the bridge replies, or serves stdio
  1   it does not reply, or no process has this number
"""
)
@click.option("--pid", type=click.IntRange(1), default=1, show_default=True, help="Process id of the bridge.")
@click.option("--ready", is_flag=True, help="Ask /readyz instead of /healthz: whether it should get requests.")
@debug_option
def health(pid: int, ready: bool) -> int:
    """Report whether a running bridge is alive, for health checks of containers.

    It asks at the ports on which the bridge really listens, and needs Linux. A bridge over stdio is healthy while it
    runs.
    """
    if not (_PROC / "self" / "net" / "tcp").exists():
        complain("`health` reads /proc, which this system does not have. Ask http://HOST:PORT/healthz instead.")
        return exits.FAULTS
    try:
        has_ended = _has_ended(pid)
        addresses = set[tuple[str, int]]() if has_ended else _addresses(pid)
    except (FileNotFoundError, ProcessLookupError):
        complain(f"No process has the number {pid}. Give the process id of the bridge with --pid.")
        return exits.FAULTS
    except PermissionError:
        complain(f"Process {pid} belongs to another user. Run this command as that user.")
        return exits.FAULTS
    if has_ended:
        complain(f"Process {pid} has ended, and its parent has not noticed that yet.")
        return exits.FAULTS
    path = "/readyz" if ready else "/healthz"
    return _report(pid, path, {port: _status(host, port, path) for host, port in sorted(addresses)})


def _report(pid: int, path: str, statuses: dict[int, int | None]) -> int:
    """Print what the replies on the ports mean, and return the exit code."""
    for port, status in statuses.items():
        if status == _OK:
            print_line(f"Process {pid} is {'ready' if path == '/readyz' else 'alive'} on port {port}.")
            return exits.OK
    # The sample tools of --quickstart listen too, and return 404 here. A process that hangs returns nothing.
    if not statuses or any(status not in {None, _UNAVAILABLE} for status in statuses.values()):
        print_line(f"Process {pid} is alive. It does not serve MCP over HTTP, as over stdio.")
        return exits.OK
    ports = ", ".join(map(str, sorted(statuses)))
    complain(f"Process {pid} listens on port {ports}, and {path} does not return status 200 there. See its log.")
    return exits.FAULTS


def _addresses(pid: int) -> set[tuple[str, int]]:
    """Return the addresses at which a bridge and its workers accept connections.

    :raises OSError: no process has this number, or it belongs to another user.
    """
    found = set(_listening(pid))
    for one in filter(_is_bridge, _descendants(pid)):
        with suppress(OSError):  # a worker that has just ended
            found |= set(_listening(one))
    return found


def _descendants(pid: int) -> Iterator[int]:
    """Yield the children of a process, and theirs."""
    parents: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            parents.setdefault(int(_stat(folder)[1]), []).append(int(folder.name))
    found = [pid]
    for one in found:
        children = parents.get(one, ())
        found.extend(children)
        yield from children


def _stat(folder: Path) -> list[str]:
    """Return the fields of a process after its name, which may have any character: its state, its parent and others."""
    return (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _has_ended(pid: int) -> bool:
    """Return whether a process is only the entry that its parent has not removed yet (a zombie).

    :raises OSError: no process has this number.
    """
    return _stat(_PROC / str(pid))[0] in {"Z", "X"}


def _is_bridge(pid: int) -> bool:
    """Return whether a child is the bridge too: one of its workers, or the bridge below an init or a shell."""
    with suppress(OSError):
        words = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
        return "'--replica'" in " ".join(words) or any(Path(word).name.replace("_", "-") in NAMES for word in words[:3])
    return False


def _listening(pid: int) -> Iterator[tuple[str, int]]:
    """Yield the addresses at which a process accepts connections over TCP.

    :raises OSError: no process has this number, or it belongs to another user.
    """
    links: list[str] = []
    for descriptor in (_PROC / str(pid) / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed in the meantime
            links.append(str(descriptor.readlink()))
    sockets = {link[8:-1] for link in links if link.startswith("socket:[")}
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        file = _PROC / str(pid) / "net" / table
        for line in file.read_text(encoding="ascii").splitlines()[1:] if file.exists() else ():
            fields = line.split()
            if fields[3] == _LISTENS and fields[9] in sockets:
                address, _, port = fields[1].partition(":")
                yield _text(address, family), int(port, 16)


def _text(address: str, family: socket.AddressFamily) -> str:
    """Return an address of /proc/net as text: words of four bytes, each in the order of the machine."""
    words = struct.unpack(f"!{len(address) // 8}I", bytes.fromhex(address))
    text = socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))
    return _ANY.get(text, text)


def _status(host: str, port: int, path: str) -> int | None:
    """Return the status of a probe, over HTTP, or over TLS with whatever certificate; None without a reply."""
    for connection in (HTTPConnection(host, port, timeout=_SECONDS), _secured(host, port)):
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, HTTPException):
            continue
        finally:
            connection.close()
    return None


def _secured(host: str, port: int) -> HTTPSConnection:
    """Return a connection that does not check the certificate, which is for another name than this address."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(host, port, timeout=_SECONDS, context=context)
