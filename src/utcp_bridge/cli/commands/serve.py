"""`utcp-bridge serve`: run the MCP server on stdio or streamable HTTP."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from utcp_bridge.cli.log_files import reopen_files
from utcp_bridge.cli.opening import load_for_server, open_loaded, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, Session, config_options, engine_options
from utcp_bridge.cli.output import note

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.model import Fault
    from utcp_bridge.processes.ending import Ending
    from utcp_bridge.server.replicas.replica import Replica
    from utcp_bridge.settings import BridgeSettings

__all__ = ["following", "frozen_when_loaded", "paused", "serve"]

_logger = logging.getLogger(__name__)
_GROWTH: Final = 1.5
_MORE_OBJECTS: Final = 300_000
_COUNTED_EVERY: Final = 20
"""Full collections."""
_OLDEST_GENERATION: Final = 2
_YOUNG_OBJECTS: Final = 5_000
"""Objects that make the collector look at the young ones. Sixteen calls in flight are 3,000 objects, none of them in a
circle. With Python's 700, each third call pays for a look at them: a twentieth of what a call costs."""
_SWITCH_SECONDS: Final = 0.000_5


@click.command(
    epilog="""\b
Examples:
  utcp-bridge serve --quickstart --http          sample tools on http://127.0.0.1:8000/mcp
  utcp-bridge serve providers.json               the command that an MCP host starts: stdio
  utcp-bridge serve manuals/ https://example.com/openapi.json
  utcp-bridge serve utcp.yaml --http --port 9000 --exposure search
  utcp-bridge serve utcp.yaml --http --workers 4        four processes behind one address
\b
The entry for a host that starts commands:
  {"mcpServers": {"utcp": {"command": "utcp-bridge", "args": ["serve", "/path/to/utcp.yaml"]}}}
"""
)
@click.option("--http", "http", is_flag=True, help="Serve streamable HTTP; the same as --transport http.")
@click.option("--transport", type=click.Choice(["stdio", "http"]), help="MCP transport.  [default: stdio]")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on; 0 picks a free one.  [default: 8000]")
@click.option("--path", help="URL path of the endpoint.  [default: /mcp]")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that serve the address, for HTTP.  [default: 1]")
@click.option("--replica", is_flag=True, hidden=True, help="Be one of several processes; the parent says the rest.")
@click.option("--exposure", type=click.Choice(["auto", "all", "search", "pinned"]), help="Tools that tools/list shows.")
@click.option(
    "--naming", type=click.Choice(["qualified", "short"]), help="MCP names of tools: manual_tool, or only tool."
)
@click.option("--profile", metavar="NAME", help="Serve the tools of one profile of the configuration alone.")
@click.option(
    "--strict",
    is_flag=True,
    default=None,
    help="Exit if the configuration, a manual or a tool has a fault or a warning.",
)
@click.option(
    "--insecure", is_flag=True, default=None, help="Allow HTTP on an address other than loopback without a token."
)
@click.option("--audit-log", help="File that receives one JSON line per call; - is stderr.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Lowest level of log lines."
)
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Form of the log lines on stderr.")
@config_options()
@engine_options
def serve(options: Options, http: bool, replica: bool, **flags: Any) -> int:
    """Serve the tools of CONFIG over MCP.

    CONFIG is a file, a folder or a URL. Several are merged. Set $UTCP_BRIDGE_BEARER_TOKEN to the token that HTTP
    clients must send. The value `generate` makes a new one and prints it.
    """
    own = None
    if replica:
        from utcp_bridge.cli.replicas import meet_parent

        options, own = meet_parent()
    given = {key: value for key, value in flags.items() if value is not None}
    if http:
        given["transport"] = "http"
    session = click.get_current_context().find_object(Session)
    if session is not None and session.is_program:
        from utcp_bridge.processes.ending import be_program
        from utcp_bridge.workers.memory import share_one_heap

        be_program()
        share_one_heap()
    return run_async(_serve, replace(options, settings={**options.settings, **given}, makes_token=True), own)


async def _serve(options: Options, replica: Replica | None) -> int:
    """Serve until the end, and return the exit code."""
    from utcp_bridge.processes.ending import watched_signals

    async with watched_signals() as ending:
        with paused():
            async with AsyncExitStack() as stack:
                loaded = await load_for_server(options, stack)
                if replica is None and loaded.config.bridge.workers > 1:
                    from utcp_bridge.cli.replicas import supervise

                    return await supervise(options, loaded, ending, _print_line)
                client = await open_loaded(loaded, stack, quiet=False, reports=replica is None)
                await stack.enter_async_context(frozen_when_loaded(client))
                if not options.quickstart:
                    await stack.enter_async_context(following(options, loaded, client, ending))
                with _reopening_files(ending, client.settings), _exporting(client):
                    await _serve_client(client, ending, loaded.faults, replica)
    return 0


async def _serve_client(client: UtcpClient, ending: Ending, faults: Sequence[Fault], replica: Replica | None) -> None:
    if client.settings.fails_on_fault:
        await wait_for_manuals(client)
        _insist(client, [*faults, *client.faults()])
    if client.settings.transport == "http":
        ending.survives_hangup = True
        await _serve_http(client, replica)
    else:
        await _serve_stdio(client)


@asynccontextmanager
async def following(options: Options, loaded: LoadedConfig, client: UtcpClient, ending: Ending) -> AsyncGenerator[None]:
    """Read the configuration again when one of its files changes, and at each SIGHUP that does not ask for the end. A
    broken edit is logged, and changes nothing.
    """
    import anyio

    from utcp_bridge.configuration.loading import files_of
    from utcp_bridge.net.files.local_file import FileWatcher
    from utcp_bridge.tasks import spawning_in

    changes = anyio.Event()

    def changed(_path: str = "") -> None:
        changes.set()

    async def follow() -> None:
        nonlocal changes, loaded
        while True:
            await changes.wait()
            changes = anyio.Event()
            loaded = await _read_again(options, loaded, client)
            watch()

    def watch() -> None:
        if not settings.follow_configuration:
            return
        with suppress(OSError):  # a folder may be gone for a moment
            for path in files_of(sources):
                if str(path) not in watched:
                    watched.add(str(path))
                    watcher.watch(str(path), path)

    settings, sources, watched = client.settings, options.found(), set[str]()
    survives = settings.transport == "http" or _has_files(settings)
    hangups = ending.at_hangup(changed) if survives else nullcontext()
    async with anyio.create_task_group() as group:
        watcher = FileWatcher(changed, spawning_in(group))
        watch()
        group.start_soon(follow)
        with hangups:
            yield
        group.cancel_scope.cancel()


async def _read_again(options: Options, before: LoadedConfig, client: UtcpClient) -> LoadedConfig:
    """Return the configuration that is in use from now on: the new one, or the one before if the new one is worse."""
    from utcp_bridge.configuration.loading import load_config
    from utcp_bridge.errors import UtcpError

    try:
        after = await load_config(options.found(), overrides=options.settings)
        worse = next((one for one in after.faults if one.severity == "error" and one not in before.faults), None)
        if worse is None:
            await client.reconfigure(after.config)
    except UtcpError as error:
        _logger.warning("The changed configuration is not used: %s", client.redactor(str(error)))
        return before
    if worse is not None:
        _logger.warning("The changed configuration is not used: %s", client.redactor(str(worse)))
        return before
    kept = {"manual_call_templates", "variables"}
    old, new = (one.config.model_dump(exclude=kept | {"bridge"}) for one in (before, after))
    settings = [one.config.bridge.model_dump(exclude={"bearer_token"}) for one in (before, after)]
    if old != new or settings[0] != settings[1]:
        _logger.warning("Changes of settings, registries, loaders and post-processing take effect at the next start.")
    _logger.info("The configuration was read again.")
    return after


@contextmanager
def _reopening_files(ending: Ending, settings: BridgeSettings) -> Generator[None]:
    """Open the files of the log and of the audit log again at each SIGHUP, as after a rotation."""
    with ending.at_hangup(reopen_files) if _has_files(settings) else nullcontext():
        yield


@contextmanager
def _exporting(client: UtcpClient) -> Generator[None]:
    """Send traces and metrics to a collector, if a variable of OpenTelemetry is set."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}  # noqa: TID251 - a standard
    if not variables:
        yield
        return
    from utcp_bridge.telemetry.exporting import start

    end = start(client.counts, variables)
    try:
        yield
    finally:
        end()


def _has_files(settings: BridgeSettings) -> bool:
    return settings.log_file is not None or settings.audit_log not in {None, "-"}


async def _serve_stdio(client: UtcpClient) -> None:
    from utcp_bridge.server.early.front import serve_stdio
    from utcp_bridge.server.watchdog import watching

    if sys.stdin.isatty():
        note(
            "Serving MCP on stdin and stdout, for an MCP host that starts this command. Use --http to serve a URL."
            " Ctrl-D ends it."
        )
    with watching(client.settings.watchdog_seconds):
        await serve_stdio(client)


async def _serve_http(client: UtcpClient, replica: Replica | None) -> None:
    import anyio

    from utcp_bridge.server.app import BridgeServer
    from utcp_bridge.server.http import serve_http
    from utcp_bridge.server.watchdog import watching

    with watching(client.settings.watchdog_seconds):
        async with anyio.create_task_group() as group:

            def start_announcing(url: str) -> None:
                if replica is None:
                    group.start_soon(_announce, client, url)

            await serve_http(BridgeServer(client), on_ready=start_announcing, replica=replica)
            group.cancel_scope.cancel()


async def _announce(client: UtcpClient, url: str) -> None:
    """Print the server's URL once the manuals are loaded or `startup_wait` is over."""
    import anyio

    with anyio.move_on_after(client.settings.startup_wait):
        await wait_for_manuals(client)
    _print_ready(client, url)


def _print_ready(client: UtcpClient, url: str) -> None:
    """Print the URL, the number of tools and the missing manuals in one line; then the entry for a host."""
    states = client.report()
    parts = [f"{len(client.tools())} tools"]
    for status in ("failed", "loading"):
        names = [state.name for state in states if state.status == status]
        if names:
            parts.append(f"{len(names)} of {len(states)} manuals {status}: {', '.join(names)}")
    _print_line(client.settings, url, "; ".join(parts))


def _print_line(settings: BridgeSettings, url: str, details: str) -> None:
    note(f"Serving MCP on {url} ({details})")
    note(json.dumps({"mcpServers": {"utcp": _entry(settings, url)}}))
    _notify("READY=1")


def _notify(state: str) -> None:
    """Report a state to systemd (sd_notify(3)), if it started this process as a service of `Type=notify`."""
    address = os.environ.get("NOTIFY_SOCKET", "")  # noqa: TID251 - a standard
    if not address.startswith(("/", "@")):
        return
    import socket

    name = f"\0{address[1:]}" if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifying:
        notifying.sendto(state.encode(), name)


def _entry(settings: BridgeSettings, url: str) -> dict[str, Any]:
    from utcp_bridge.settings import GeneratedToken

    entry: dict[str, Any] = {"type": "http", "url": url}
    token = settings.bearer_token
    if token is not None:
        shown = token.get_secret_value() if isinstance(token, GeneratedToken) else "YOUR_TOKEN"
        entry["headers"] = {"Authorization": f"Bearer {shown}"}
    elif settings.tokens_file is not None:
        entry["headers"] = {"Authorization": "Bearer YOUR_TOKEN"}
    return entry


def _insist(client: UtcpClient, faults: Sequence[Fault]) -> None:
    """Raise the first fault or warning, as `strict` demands.

    :raises UtcpError: a manual failed, or the configuration, a manual or a tool has a fault or a warning.
    """
    from utcp_bridge.errors import ConfigError

    for fault in faults:
        raise ConfigError(str(fault), remedy="The setting `strict` is on. `utcp-bridge check` lists every fault.")
    for state in client.report():
        if state.error is not None:
            raise state.error
        for fault in state.faults:
            raise ConfigError(str(fault), remedy="The setting `strict` is on. `utcp-bridge check` lists every fault.")


# --- the garbage collector -----------------------------------------------------------------------
# Ten thousand tools are a million objects that live as long as the process. A full collection walks all of them: it
# stops every call for a fifth of a second, again and again. Frozen objects cost nothing. Objects that survive a full
# collection are frozen as well: the catalogue and the index that the first requests build, and tools that a refresh has
# changed. A frozen object ends as any other when nothing refers to it any more. Only circles of frozen objects do not,
# so everything is thawed for the next collection when the frozen objects have become many more.


@contextmanager
def paused() -> Generator[None]:
    """Collect nothing until `frozen_when_loaded` starts the collector again; restore its normal state at the end.

    A large manual is read in a thread. With Python's usual interval of 5 ms, each turn of the event loop would wait so
    long for the interpreter, and a call takes about twenty turns.
    """
    gc.disable()
    thresholds = gc.get_threshold()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        gc.enable()


@asynccontextmanager
async def frozen_when_loaded(client: UtcpClient) -> AsyncGenerator[None]:
    """Start the collector once the manuals are loaded or `startup_wait` is over. Freeze the objects of that time."""
    import anyio

    async with anyio.create_task_group() as group:
        group.start_soon(_freeze_when_loaded, client)
        yield
        group.cancel_scope.cancel()


async def _freeze_when_loaded(client: UtcpClient) -> None:
    import anyio

    await client.wait_loaded(client.settings.startup_wait)
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
    gc.enable()
    survivors = _Survivors()
    gc.callbacks.append(survivors.freeze)
    try:
        await anyio.sleep_forever()
    finally:
        gc.callbacks.remove(survivors.freeze)


class _Survivors:
    """Freezes the objects that survive a full collection."""

    def __init__(self) -> None:
        self._collections = 0
        self._most: float = 0
        """Frozen objects from which everything is thawed; 0 after a thaw."""

    def freeze(self, phase: str, details: dict[str, Any]) -> None:
        """Freeze, or thaw for the next collection (a callback of the collector)."""
        if phase != "stop" or details["generation"] != _OLDEST_GENERATION:
            return
        gc.freeze()
        self._collections += 1
        if self._collections % _COUNTED_EVERY:
            return
        frozen = gc.get_freeze_count()  # it takes milliseconds
        if not self._most:
            self._most = frozen * _GROWTH + _MORE_OBJECTS
        elif frozen > self._most:
            gc.unfreeze()
            self._most = 0
