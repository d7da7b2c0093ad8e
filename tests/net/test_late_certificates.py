"""Contexts that read the authorities late verify as much as others do."""

import asyncio
import ssl
import subprocess
import sys

import pytest
from tests.upstreams.certificates import Authority

from utcp_bridge.net.late_certificates import late_certificates

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]


def made_late():
    with late_certificates():
        return ssl.create_default_context()


def test_a_late_context_has_the_authorities_of_the_system_when_it_is_asked():
    context = made_late()
    assert type(context) is not ssl.SSLContext
    assert context.cert_store_stats() == ssl.create_default_context().cert_store_stats()
    assert type(context) is ssl.SSLContext


def test_contexts_that_are_made_afterwards_are_as_ever():
    made_late()
    assert type(ssl.create_default_context()) is ssl.SSLContext
    assert not {"set_default_verify_paths"} & vars(ssl.SSLContext).keys()


async def test_a_late_context_refuses_an_unknown_authority_and_takes_one_that_is_added(tmp_path):
    authority = Authority.create(tmp_path)
    server = await asyncio.start_server(
        lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=authority.server_context()
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=made_late())
        knowing = made_late()
        knowing.load_verify_locations(authority.ca)
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=knowing)
        writer.close()


def test_the_first_session_reads_no_authorities():
    program = """
import anyio
from utcp_bridge.model import Source
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool

async def main():
    HttpPool(Guard()).session(Source("shop"))

anyio.run(main)
import aiohttp.connector as connector
print([type(one).__name__ for one in (connector._SSL_CONTEXT_VERIFIED, connector._SSL_CONTEXT_UNVERIFIED)])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['_LateContext', '_LateContext']"
