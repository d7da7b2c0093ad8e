"""Principals over HTTP who try to use what belongs to each other."""

import re
import socket
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import orjson
from tests.support.hot_requests import plain

INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
HANDSHAKE = {**JSON, "MCP-Protocol-Version": "2025-11-25"}
HANDLE = re.compile(r'\\*"handle\\*": ?\\*"([^"\\]+)')


class Party:
    """One principal, with a session of its own, and what it owns."""

    def __init__(self, url, token):
        self.url = url
        self.own = {"Authorization": f"Bearer {token}"}
        self.http = httpx2.Client(timeout=300)
        self.session = self.post(plain("initialize", INITIALIZE), JSON).headers["mcp-session-id"]
        text = self.post(plain("tools/call", {"name": "m_big"}), self.of_session()).text
        self.handle = HANDLE.search(text)[1]
        self.modern_handle = HANDLE.search(self.modern("tools/call", {"name": "m_big"}).text)[1]
        self.stream = self.listen()

    def close(self):
        self.http.close()
        self.stream.close()

    def of_session(self, session=None):
        return {**HANDSHAKE, "Mcp-Session-Id": session or self.session}

    def post(self, message, headers):
        return self.http.post(self.url, content=orjson.dumps(message), headers={**headers, **self.own})

    def modern(self, method, params):
        headers = {**JSON, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
        name = params.get("name") or params.get("uri")
        if name is not None:
            headers["Mcp-Name"] = name
        return self.post(plain(method, params, modern=True), headers)

    def listen(self):
        """Open the event stream of the session; return its socket, after the head has come."""
        parts = urlsplit(self.url)
        stream = socket.create_connection((parts.hostname, parts.port), timeout=60)
        fields = {"Host": parts.netloc, "Accept": "text/event-stream", **self.of_session(), **self.own}
        head = "".join(f"{name}: {value}\r\n" for name, value in {**fields}.items())
        stream.sendall(f"GET {parts.path} HTTP/1.1\r\n{head}\r\n".encode())
        assert stream.recv(65_536).startswith(b"HTTP/1.1 200")
        stream.setblocking(False)
        return stream

    def stream_is_open(self):
        try:
            return self.stream.recv(65_536) != b""
        except BlockingIOError:
            return True

    def read_stream_to_its_end(self):
        """Read the event stream until its last chunk. The connection stays open for another request."""
        self.stream.settimeout(60)
        read = b""
        while not read.endswith(b"0\r\n\r\n"):
            part = self.stream.recv(65_536)
            if not part:
                return
            read += part

    def is_whole(self):
        """Return whether session, handles and stream are as they were."""
        page = self.post(plain("tools/list"), self.of_session())
        read = plain("tools/call", {"name": "read_result", "arguments": {"handle": self.handle}})
        kept = self.post(read, self.of_session()).json()["result"]
        modern = self.modern("tools/call", {"name": "read_result", "arguments": {"handle": self.modern_handle}}).json()[
            "result"
        ]
        failed = kept.get("isError") or modern.get("isError")
        return page.status_code == 200 and "tools" in page.json()["result"] and not failed and self.stream_is_open()


def made_up(kind, ident):
    """Return an identifier of the same form that nobody has."""
    if kind == "session":
        return uuid4().hex + ident[32:]
    return "".join("A" if one != "A" else "B" for one in ident[:4]) + ident[4:]


def seen(response, ident):
    """Return what a client sees of a response, without the identifiers that it sent or got anew."""
    text = response.text.replace(ident, "IDENT")
    session = response.headers.get("mcp-session-id")
    kept = {k: v for k, v in response.headers.items() if k.lower() not in {"date", "mcp-session-id"}}
    return response.status_code, text, kept, None if session is None else session == ident
