"""`utcp-bridge console`: the console of a configuration in a browser, on a server of its own."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import load_for_server, open_loaded, run_async
from utcp_bridge.cli.options import Options, config_options, engine_options
from utcp_bridge.cli.output import note
from utcp_bridge.cli.program import Session

if TYPE_CHECKING:
    from utcp_bridge.cli.locking import ConsoleLock
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.server.replies import Receive, Scope, Send
    from utcp_bridge.server.web.console_door import ConsoleDoor

__all__ = ["console"]

_HOST: Final = "127.0.0.1"


@click.command(
    epilog="""\b
Examples:
  utcp-bridge console                          the console of ./utcp.yaml
  utcp-bridge console utcp.yaml --no-browser   print its address
  utcp-bridge console --quickstart             try it with sample tools
\b
A bridge that serves HTTP has the console at its own address: see `utcp-bridge help console`.
\b
Exit codes:
"""
    + exits.listed(exits.OK, exits.USAGE, exits.CONFIGURATION)
)
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Port on 127.0.0.1; 0 picks a free one.")
@click.option("--no-browser", is_flag=True, help="Print the address instead of opening a browser.")
@config_options()
@engine_options
def console(options: Options, port: int, no_browser: bool) -> int:
    """Show a page about CONFIG in a browser, with its manuals and tools.

    The command loads CONFIG itself, for programs that a host starts over stdio. It prints an address on this machine
    with a code, which works once and for ten minutes. It ends with Ctrl-C.
    """
    session = click.get_current_context().find_object(Session)
    if session is not None and session.is_program:
        from utcp_bridge.processes.ending import be_program

        be_program()
    return run_async(_console, options, port, not no_browser)


async def _console(options: Options, port: int, browser: bool) -> int:
    from utcp_bridge.cli.live.following import following
    from utcp_bridge.cli.locking import ConsoleLock
    from utcp_bridge.errors import ConfigError
    from utcp_bridge.processes.ending import watched_signals
    from utcp_bridge.server.web.console_door import missing_console

    if find_spec("jinja2") is None:
        raise ConfigError("The console needs packages that are not installed.", remedy=missing_console())
    settings = {**options.settings, "transport": "http", "host": _HOST, "port": port, "workers": 1}
    options = replace(options, settings=settings)
    async with watched_signals() as ending, AsyncExitStack() as stack:
        loaded = await load_for_server(options, stack)
        client = await open_loaded(loaded, stack)
        if not options.quickstart:
            await stack.enter_async_context(following(options, loaded, client, ending, survives=False))
        await _serve(client, ConsoleLock(options, client), _launch(options), port, browser)
    return exits.OK


def _launch(options: Options) -> list[str]:
    """Return the words with which a host starts this configuration."""
    from utcp_bridge.cli.starting import own_launch

    sources = options.found()
    return own_launch([one if "://" in one else str(Path(one).absolute()) for one in map(str, sources)]).words


async def _serve(client: UtcpClient, lock: ConsoleLock, launch: list[str], port: int, browser: bool) -> None:
    """Serve the console alone, without an MCP endpoint, until a signal."""
    import anyio

    from utcp_bridge.console.admin import Admin
    from utcp_bridge.console.site import ConsoleSite
    from utcp_bridge.console.visitors import Visitors
    from utcp_bridge.net.asgi_server import serve_asgi
    from utcp_bridge.net.listening import listen
    from utcp_bridge.server.meta_tools import catalogue_with_meta_tools
    from utcp_bridge.server.readiness import Readiness
    from utcp_bridge.server.web.console_door import ConsoleDoor
    from utcp_bridge.server.web.doors import Doors

    visitors = Visitors(needs_code=True)
    catalogue = catalogue_with_meta_tools(client)
    summary = Readiness(client).summary
    admin = Admin(client, summary, launch=launch, lock=lock, catalogue=lambda: catalogue)
    site = ConsoleSite(admin, visitors)
    door = ConsoleDoor(site, Doors(client.settings))
    listeners = listen(_HOST, port)
    address = f"http://{_HOST}:{listeners[0].getsockname()[1]}/#code={visitors.new_code()}"

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:  # uvicorn does not recognise a `partial`
        await _answer(door, scope, receive, send)

    async def end() -> None:
        site.end()

    async with anyio.create_task_group() as group:

        def on_ready() -> None:
            group.start_soon(_announce, address, browser)

        await serve_asgi(answer, listeners, on_ready=on_ready, at_end=end)
        group.cancel_scope.cancel()


async def _answer(door: ConsoleDoor, scope: Scope, receive: Receive, send: Send) -> None:
    from utcp_bridge.server.replies import respond

    if scope["type"] != "http":
        raise ValueError("Only HTTP is served.")  # uvicorn then goes on without a lifespan
    if not door.takes(scope):
        await respond(send, 404, {"error": "not found", "message": "This server has the console only, at /."})
    elif not await door.refuses(scope, send):
        await door(scope, receive, send)


async def _announce(address: str, browser: bool) -> None:
    from utcp_bridge.auth.login.person import open_browser

    if browser and await open_browser(address):
        note("The browser opens the console. Ctrl-C ends it.")
        return
    once = "It works once, for ten minutes. Ctrl-C ends the console."
    note(f"Open this address in a browser on this machine. {once}\n  {address}")
