"""tcp: servers that frame their messages in four ways, and one that speaks first."""

import struct
from pathlib import Path

import pytest
from tests.interop.manuals import manual
from tests.interop.serving import free_port, serving
from tests.interop.software import Debian

pytestmark = pytest.mark.anyio

REDIS = Debian("redis-server")
MEMCACHED = Debian("memcached")
DNSMASQ = Debian("dnsmasq-base", program="dnsmasq")
SOCAT = Debian("socat")
NATS = Debian("nats-server")


def line(template: str, **fields):
    return {
        "host": "127.0.0.1",
        "request_data_format": "text",
        "request_data_template": template,
        "framing_strategy": "delimiter",
        "message_delimiter": "\\r\\n",
        **fields,
    }


@pytest.mark.needs(REDIS)
async def test_inline_commands_of_redis_are_answered_by_line_and_by_bulk(opened, tmp_path: Path) -> None:
    port = free_port()
    command = [REDIS.command, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    put = line("SET UTCP_ARG_key_UTCP_ARG UTCP_ARG_value_UTCP_ARG", port=port)
    get = line("GET UTCP_ARG_key_UTCP_ARG\r\n", port=port, framing_strategy="stream", quiet_period=0.2)
    with serving(command, port=port, environment=REDIS.environment):
        async with opened(manual("redis", "tcp", set=put, get=get)) as client:
            assert await client.call_tool("redis.set", {"key": "city", "value": "Paris"}) == "+OK"
            assert await client.call_tool("redis.get", {"key": "city"}) == "$5\r\nParis\r\n"
            assert await client.call_tool("redis.get", {"key": "none"}) == "$-1\r\n"


@pytest.mark.needs(MEMCACHED)
async def test_memcached_ends_its_replies_with_a_word(opened) -> None:
    port = free_port()
    command = [MEMCACHED.command, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-u", "nobody"]
    put = line("set UTCP_ARG_key_UTCP_ARG 0 0 UTCP_ARG_size_UTCP_ARG\r\nUTCP_ARG_value_UTCP_ARG", port=port)
    get = line("get UTCP_ARG_key_UTCP_ARG\r\n", port=port, framing_strategy="stream", quiet_period=0.2)
    with serving(command, port=port, environment=MEMCACHED.environment):
        async with opened(manual("cache", "tcp", set=put, get=get)) as client:
            assert await client.call_tool("cache.set", {"key": "k", "size": 5, "value": "hello"}) == "STORED"
            assert await client.call_tool("cache.get", {"key": "k"}) == "VALUE k 0 5\r\nhello\r\nEND\r\n"


@pytest.mark.needs(DNSMASQ)
async def test_a_name_server_prefixes_each_message_with_its_length(opened) -> None:
    port = free_port()
    query = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\x04host\x04test\x00" + struct.pack(">HH", 1, 1)
    lookup = {
        "host": "127.0.0.1",
        "port": port,
        "request_data_format": "text",
        "request_data_template": query.decode(),
        "response_byte_format": None,
        "framing_strategy": "length_prefix",
        "length_prefix_bytes": 2,
    }
    with serving(dnsmasq(port), port=port, environment=DNSMASQ.environment):
        async with opened(manual("dns", "tcp", lookup=lookup)) as client:
            reply = (await client.call_tool("dns.lookup", {})).data
    assert reply[:2] == b"\x00\x07"
    assert reply.endswith(bytes([192, 0, 2, 5]))


@pytest.mark.needs(SOCAT)
@pytest.mark.parametrize("framing", ["length_prefix", "delimiter", "fixed_length", "stream"])
async def test_an_echo_comes_back_in_the_framing_it_went_out_in(opened, framing: str) -> None:
    port = free_port()
    command = [SOCAT.command, f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr", "SYSTEM:cat"]
    text = "grüße, 世界"
    echo = {
        "host": "127.0.0.1",
        "port": port,
        "request_data_format": "text",
        "request_data_template": "UTCP_ARG_text_UTCP_ARG",
        "framing_strategy": framing,
        "fixed_message_length": len(text.encode()),
        "quiet_period": 0.2,
    }
    with serving(command, port=port, environment=SOCAT.environment):
        async with opened(manual("echo", "tcp", say=echo)) as client:
            assert await client.call_tool("echo.say", {"text": text}) == text


@pytest.mark.needs(NATS)
async def test_a_server_that_speaks_first_is_heard_out(opened, tmp_path: Path) -> None:
    port = free_port()
    command = [NATS.command, "-a", "127.0.0.1", "-p", str(port), "-P", str(tmp_path / "pid")]
    ping = line("PING", port=port, read_greeting=True)
    with serving(command, port=port, environment=NATS.environment):
        async with opened(manual("nats", "tcp", ping=ping)) as client:
            assert await client.call_tool("nats.ping", {}) == "PONG"


def dnsmasq(port: int) -> list[str]:
    """A name server that knows one name, reads no file and asks nobody."""
    options = f"--keep-in-foreground --no-resolv --no-hosts --no-poll --conf-file=/dev/null --port={port} --user=root"
    bound = "--listen-address=127.0.0.1 --bind-interfaces --address=/host.test/192.0.2.5 --pid-file="
    return [DNSMASQ.command, *options.split(), *bound.split()]
