"""A server in this process: over HTTP, and on standard input and output."""

import os
import signal
from contextlib import contextmanager

import anyio

from utcp_bridge.server.http import serve_http


async def serve(server, work, *, seconds=200, **options):
    """Serve over HTTP with options of `serve_http`, run `work(url)`, then end the server with a signal."""
    ready = anyio.Event()
    urls = []

    def on_ready(url):
        urls.append(url)
        ready.set()

    with anyio.fail_after(seconds):
        async with anyio.create_task_group() as group:

            async def run():
                await serve_http(server, on_ready=on_ready, **options)

            group.start_soon(run)
            await ready.wait()
            await work(urls[0])
            os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def replaced_standard_streams():
    """Replace descriptors 0 and 1 with pipes. Yield the client's ends (text to write, bytes to read)."""
    saved = os.dup(0), os.dup(1)
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
    os.dup2(their_in, 0)
    os.dup2(their_out, 1)
    os.close(their_in)
    os.close(their_out)
    try:
        yield os.fdopen(our_out, "w"), os.fdopen(our_in, "rb")
    finally:
        for number, descriptor in enumerate(saved):
            os.dup2(descriptor, number)
            os.close(descriptor)
