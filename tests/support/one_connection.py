"""Connections to a bridge: one whose requests arrive in one piece each, and one of a client that may be slow."""

import http.client
import selectors
import socket
from typing import Any
from urllib.parse import urlsplit

import orjson
from tests.support.hot_requests import plain

INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


class Line:
    """One connection to a bridge, as of a proxy that sends the requests of several clients."""

    def __init__(self, url, *, modern):
        self.parts, self.modern = urlsplit(url), modern
        self._socket = socket.create_connection((self.parts.hostname, self.parts.port), timeout=60)
        self._stream = self._socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.close()
        self._socket.close()

    def send(self, message, token=None, path="", **more):
        """Send a request in one piece."""
        version = "2026-07-28" if self.modern and message["method"] != "initialize" else "2025-11-25"
        fields = {"Host": self.parts.netloc, "Content-Type": "application/json", "MCP-Protocol-Version": version}
        fields["Accept"] = "application/json, text/event-stream"
        if self.modern:
            fields |= {"Mcp-Method": message["method"], "Mcp-Name": message["params"].get("name", "")}
        fields |= {} if token is None else {"Authorization": f"Bearer {token}"}
        body = orjson.dumps(message)
        fields |= {**{name.replace("_", "-"): value for name, value in more.items()}, "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._socket.sendall(f"POST {self.parts.path}{path} HTTP/1.1\r\n{head}\r\n".encode() + body)

    def read(self):
        """Return the status, the headers and the body of the next response."""
        status, *lines = iter(lambda: self._stream.readline().rstrip(b"\r\n").decode(), "")
        told = dict(line.split(": ", 1) for line in lines)
        return int(status.split()[1]), told, self._stream.read(int(told["content-length"]))

    def ask(self, *parts, **more):
        self.send(*parts, **more)
        return self.read()

    def call(self, name, token=None, path="", ident=1, **more):
        """Return the status of a call, and its structured content or what else came."""
        message = plain("tools/call", {"name": name, "arguments": {}}, modern=self.modern, ident=ident)
        status, told, body = self.ask(message, token, path, **more)
        document = orjson.loads(body)
        return status, document.get("result", {}).get("structuredContent", document), told

    def enter(self, token=None, path=""):
        """Return the headers that a client of the era sends further: those of its session, if there are sessions."""
        if self.modern:
            return {}
        status, told, _ = self.ask(plain("initialize", INITIALIZE), token, path)
        assert status == 200
        return {"Mcp_Session_Id": told["mcp-session-id"]}


class PatientConnection(http.client.HTTPConnection):
    """A connection that is opened again where the bridge has closed it, as it does after a time without a request.

    On a busy machine, a test may take longer between two requests.
    """

    def has_ended(self) -> bool:
        """Return whether the bridge has closed it. Nothing else comes while no request is under way."""
        if self.sock is None:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self.sock, selectors.EVENT_READ)
            return bool(selector.select(0))

    def request(self, *arguments: Any, **options: Any) -> None:
        if self.has_ended():
            self.close()
        super().request(*arguments, **options)
