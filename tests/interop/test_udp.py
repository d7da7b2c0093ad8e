"""udp: one datagram each way, none back, and a port where nobody is."""

import struct
from pathlib import Path

import anyio
import pytest
from tests.interop.manuals import manual
from tests.interop.serving import free_port, serving, until
from tests.interop.software import Debian
from tests.interop.test_tcp import DNSMASQ, SOCAT, dnsmasq

from utcp_bridge.errors import UtcpError

pytestmark = pytest.mark.anyio

RSYSLOG = Debian("rsyslog", program="rsyslogd")


def datagram(port: int, template: str, **fields):
    return {
        "host": "127.0.0.1",
        "port": port,
        "request_data_format": "text",
        "request_data_template": template,
        "number_of_response_datagrams": 1,
        **fields,
    }


@pytest.mark.needs(SOCAT)
async def test_an_echoed_datagram_keeps_its_letters(opened) -> None:
    port = free_port()
    command = [SOCAT.command, f"UDP4-RECVFROM:{port},bind=127.0.0.1,fork", "SYSTEM:cat"]
    echo = datagram(port, "UTCP_ARG_text_UTCP_ARG")
    with serving(command, ready=lambda: bound(port), environment=SOCAT.environment):
        async with opened(manual("echo", "udp", say=echo)) as client:
            assert await client.call_tool("echo.say", {"text": "grüße"}) == "grüße"


@pytest.mark.needs(DNSMASQ)
async def test_a_name_server_answers_a_binary_question(opened) -> None:
    port = free_port()
    query = struct.pack(">HHHHHH", 9, 0x0100, 1, 0, 0, 0) + b"\x04host\x04test\x00" + struct.pack(">HH", 1, 1)
    lookup = datagram(port, query.decode(), response_byte_format=None)
    with serving(dnsmasq(port), port=port, environment=DNSMASQ.environment):
        async with opened(manual("dns", "udp", lookup=lookup)) as client:
            reply = (await client.call_tool("dns.lookup", {})).data
    assert reply[:2] == b"\x00\x09"
    assert reply.endswith(bytes([192, 0, 2, 5]))


@pytest.mark.needs(RSYSLOG)
async def test_a_log_daemon_gets_its_line_and_answers_nothing(opened, tmp_path: Path) -> None:
    port = free_port()
    config, written = tmp_path / "rsyslog.conf", tmp_path / "messages"
    modules = next((RSYSLOG.folder / "usr/lib").glob("*/rsyslog"), None)
    config.write_text(
        f'module(load="imudp")\ninput(type="imudp" address="127.0.0.1" port="{port}")\n'
        f'*.* action(type="omfile" file="{written}")\n',
        encoding="utf-8",
    )
    command = [RSYSLOG.command, "-n", "-f", str(config), "-i", str(tmp_path / "pid")]
    command += ["-M", str(modules)] if modules else []
    tell = datagram(port, "<13>bridge: UTCP_ARG_text_UTCP_ARG", number_of_response_datagrams=0)
    with serving(command, ready=lambda: bound(port), environment=RSYSLOG.environment):
        async with opened(manual("log", "udp", tell=tell)) as client:
            assert await client.call_tool("log.tell", {"text": "door opened"}) == ""
            until(lambda: written.exists() and "door opened" in written.read_text(encoding="utf-8"))


async def test_a_port_where_nobody_listens_is_reported_at_once(opened) -> None:
    port = free_port()
    async with opened(manual("none", "udp", ask=datagram(port, "x"))) as client:
        with anyio.fail_after(60), pytest.raises(UtcpError, match="refused"):
            await client.call_tool("none.ask", {})


def bound(port: int) -> bool:
    """Whether a process holds this UDP port (Linux lists them)."""
    wanted = f"0100007F:{port:04X}"
    return wanted in Path("/proc/net/udp").read_text(encoding="ascii")
