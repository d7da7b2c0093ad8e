"""The sample services on plain sockets."""

import socket

import anyio
import anyio.to_thread
import pytest

from utcp_bridge.quickstart.sockets import serving_sockets

pytestmark = pytest.mark.anyio


async def test_each_line_comes_back_in_capitals_and_each_datagram_backwards():
    def talk(tcp_port, udp_port):
        with socket.create_connection(("127.0.0.1", tcp_port), timeout=5) as line, line.makefile("rw") as stream:
            stream.write("one\ntwo\n")
            stream.flush()
            lines = [stream.readline(), stream.readline()]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(5)
            datagrams.sendto(b"abc", ("127.0.0.1", udp_port))
            return lines, datagrams.recv(100)

    with anyio.fail_after(10):
        async with serving_sockets() as ports:
            assert await anyio.to_thread.run_sync(talk, *ports) == (["ONE\n", "TWO\n"], b"cba")


async def test_a_line_without_end_is_cut_off():
    def talk(tcp_port):
        with socket.create_connection(("127.0.0.1", tcp_port), timeout=5) as line:
            try:
                line.sendall(b"x" * 1_000_000)
                return line.recv(1)
            except ConnectionError:
                return b""

    with anyio.fail_after(10):
        async with serving_sockets() as (tcp_port, _):
            assert await anyio.to_thread.run_sync(talk, tcp_port) == b""
