"""Sends a request to a recording HTTP server on loopback and gives back what arrived, byte for byte."""

import http.client
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass
class Arrived:
    method: str
    target: str
    headers: list
    body: bytes

    def header(self, name):
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Recorder:
    """One connection, many requests; the server side runs in a thread of its own."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._arrived = []
        self._connection = http.client.HTTPConnection("127.0.0.1", self._listener.getsockname()[1], timeout=60)

    def send(self, parts):
        """What the server saw of one `RequestParts`, addressed as if it stood at the URL's own host."""
        address = urlsplit(parts.url)
        target = parts.url.partition("://")[2].partition("/")
        self._connection.putrequest(parts.method, f"/{target[2]}", skip_host=True, skip_accept_encoding=True)
        self._connection.putheader("Host", address.netloc)
        for name, value in parts.raw_headers:
            self._connection.putheader(name.decode("ascii"), value)
        self._connection.putheader("Content-Length", str(len(parts.body or b"")))
        self._connection.endheaders(parts.body or b"")
        response = self._connection.getresponse()
        response.read()
        return self._arrived.pop()

    def close(self):
        self._connection.close()
        self._listener.close()
        self._thread.join(60)

    def _serve(self):
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as stream:
            while line := stream.readline():
                self._arrived.append(_read(line, stream))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def _read(line, stream):
    method, target, _ = line.decode("utf-8").split(" ", 2)
    headers = []
    while (header := stream.readline().rstrip(b"\r\n")) != b"":
        name, _, value = header.partition(b":")
        headers.append((name.decode("ascii"), value.strip().decode("utf-8")))
    length = next(int(value) for name, value in headers if name == "Content-Length")
    return Arrived(method, target, headers, stream.read(length))


@contextmanager
def recorder():
    running = Recorder()
    try:
        yield running
    finally:
        running.close()
