"""`utcp-bridge serve` and `reload`: run the MCP server on stdio or streamable HTTP, and let it read its files again."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.log_files import reopen_files
from utcp_bridge.cli.logs import access_sink
from utcp_bridge.cli.opening import load_for_server, open_loaded, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, config_options, debug_option, engine_options
from utcp_bridge.cli.output import complain, note, print_json, print_line
from utcp_bridge.cli.program import Session
from utcp_bridge.model import JsonObject

if TYPE_CHECKING:
    from utcp_bridge.cli.live.doors import Door
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.model import Fault
    from utcp_bridge.processes.ending import Ending
    from utcp_bridge.server.replicas.replica import Replica
    from utcp_bridge.settings import BridgeSettings

__all__ = ["frozen_when_loaded", "paused", "reload", "serve"]

_logger = logging.getLogger(__name__)
_GROWTH: Final = 1.5
_MORE_OBJECTS: Final = 300_000
_COUNTED_EVERY: Final = 200
"""Full collections."""
_OLDEST_GENERATION: Final = 2
_YOUNG_OBJECTS: Final = 5_000
"""Objects that make the collector look at the young ones. Sixteen calls in flight are 3,000 objects, none of them in a
circle. With Python's 700, each third call pays for a look at them: a twentieth of what a call costs."""
_YOUNG_COLLECTIONS: Final = 2
_MIDDLE_COLLECTIONS: Final = 2
"""How many of them come before a collection of the next generation. What survives a full collection is frozen, so each
object is in one however many there are. With Python's 10 and 10, one looks at half a million objects, and every call
waits for 60 ms."""
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
@click.option("--access-log", help="File that receives one JSON line per HTTP request; - is stderr.")
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
        from utcp_bridge.late.libraries import import_anyio

        import_anyio()  # before the next modules do
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
                    await _follow(options, loaded, client, ending, stack)
                with _reopening_files(ending, client.settings), _exporting(client):
                    await _serve_client(client, ending, loaded.faults, replica, options)
    return 0


async def _follow(
    options: Options, loaded: LoadedConfig, client: UtcpClient, ending: Ending, stack: AsyncExitStack
) -> None:
    """Follow the configuration, and open the door for `utcp-bridge reload`, until `stack` ends."""
    from utcp_bridge.cli.live.doors import listening_door
    from utcp_bridge.cli.live.following import following

    survives = client.settings.transport == "http" or _has_files(client.settings)
    follower = await stack.enter_async_context(following(options, loaded, client, ending, survives=survives))
    await stack.enter_async_context(listening_door(follower, options.found(), options.parent))


async def _serve_client(
    client: UtcpClient, ending: Ending, faults: Sequence[Fault], replica: Replica | None, options: Options
) -> None:
    if client.settings.fails_on_fault:
        await wait_for_manuals(client)
        _insist(client, [*faults, *client.faults()])
    if client.settings.transport == "http":
        ending.survives_hangup = True
        await _serve_http(client, replica, options)
    else:
        await _serve_stdio(client)


@contextmanager
def _reopening_files(ending: Ending, settings: BridgeSettings) -> Generator[None]:
    """Open the files of the log, the audit log and the access log again at each SIGHUP, as after a rotation."""
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

    end = start(client.counts, variables, client.settings.traces_per_second)
    try:
        yield
    finally:
        end()


def _has_files(settings: BridgeSettings) -> bool:
    return settings.log_file is not None or not {settings.audit_log, settings.access_log} <= {None, "-"}


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


async def _serve_http(client: UtcpClient, replica: Replica | None, options: Options) -> None:
    import anyio

    from utcp_bridge.cli.locking import ConsoleLock
    from utcp_bridge.server.app import BridgeServer
    from utcp_bridge.server.http import serve_http
    from utcp_bridge.server.watchdog import watching
    from utcp_bridge.server.web.access_log import AccessLog

    with watching(client.settings.watchdog_seconds), access_sink(client.settings, client.root) as sink:
        access = None if sink is None else AccessLog(sink, client.redactor)
        async with anyio.create_task_group() as group:

            def start_announcing(url: str) -> None:
                if replica is None:
                    group.start_soon(_announce, client, url)

            lock = None if options.quickstart or replica is not None else ConsoleLock(options, client)
            server = BridgeServer(client)
            await serve_http(server, on_ready=start_announcing, replica=replica, access=access, lock=lock)
            group.cancel_scope.cancel()


async def _announce(client: UtcpClient, url: str) -> None:
    """Print the server's URL once the manuals are loaded or `startup_wait` is over."""
    import anyio

    with anyio.move_on_after(client.settings.startup_wait):
        await wait_for_manuals(client)
    _print_ready(client, url)


def _print_ready(client: UtcpClient, url: str) -> None:
    """Print the URL, the number of tools and the missing manuals in one line; then the entry for a host."""
    from utcp_bridge.model import counted

    states = client.report()
    parts = [counted(len(client.tools()), "tool")]
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

    here = url.replace("//0.0.0.0:", "//127.0.0.1:").replace(
        "//[::]:", "//[::1]:"
    )  # a host cannot connect to "any address"
    entry: dict[str, Any] = {"type": "http", "url": here}
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


# --- a bridge that runs ---------------------------------------------------------------------------

_WORDS: Final = {
    "added": "Added", "changed": "Changed", "removed": "Removed", "read_again": "Read again", "settings": "Settings",
}  # fmt: skip


@click.command(
    epilog="""\b
Examples:
  utcp-bridge reload                        the only bridge of this user that runs
  utcp-bridge reload utcp.yaml              the one that serves this configuration
  utcp-bridge reload --pid 4711 --json
\b
Exit codes:
"""
    + exits.listed(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.UPSTREAM, exits.DEADLINE)
)
@click.option("--pid", type=click.IntRange(1), help="Number of the process, if several bridges run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@config_options()
@debug_option
@click.pass_obj
def reload(session: Session, options: Options, pid: int | None, as_json: bool) -> int:
    """Let a running bridge read its configuration again.

    The bridge is one of this user on this machine. It says what it took over, which manuals it read again because they
    use variables, what needs a restart, and which manuals could not be loaded. A configuration with a fault changes
    nothing: the fault is printed, and the exit code is 2.
    """
    session.as_json = as_json
    answers = _answers(options.sources, pid)
    first = next((one for one in answers if one.get("error")), answers[0])
    if as_json:
        print_json({**first, "processes": len(answers)})
    elif first.get("error"):
        complain(f"The changed configuration is not used: {first['error']}")
    else:
        _print(first)
    if first.get("error"):
        return exits.CONFIGURATION
    failed = any(manual.get("errors") for manual in first.get("manuals", {}).values())
    return exits.UPSTREAM if failed else exits.OK


_OTHERS: Final = "Name one of them with --pid or by its configuration."
_NONE: Final = (
    "Start one with `utcp-bridge serve`. For one that runs, use the account of the user who started it, with the same "
    "home folder."
)


def _answers(sources: Sequence[str], pid: int | None) -> list[JsonObject]:
    """Return what the processes of one server say.

    :raises ConfigError: no server runs, or it is not clear which one is meant.
    """
    from utcp_bridge.cli.live.doors import doors, shown_sources
    from utcp_bridge.errors import ConfigError

    wanted = tuple(shown_sources(sources))
    found = [one for one in doors() if one.runs()]
    fitting = [one for one in found if (pid is None or pid in {one.pid, one.server}) and wanted in {(), one.sources}]
    servers = sorted({one.server for one in fitting})
    if len(servers) > 1:
        raise ConfigError(
            f"Several bridges run: {_listed(fitting)}.", remedy="Name one with --pid, or name its configuration."
        )
    if not servers:
        others = f" These run: {_listed(found)}." if found else ""
        raise ConfigError(
            f"No bridge of this user runs{' with this number or configuration' if wanted or pid else ''}.{others}",
            remedy=_OTHERS if found else _NONE,
        )
    answers = [answer for one in fitting if (answer := one.reload()) is not None]
    if not answers:
        raise ConfigError("The bridge has just ended.", remedy="Start it again.")
    return answers


def _listed(found: Iterable[Door]) -> str:
    shown = {one.server: " ".join(one.sources) for one in found}
    return ", ".join(f"{pid} ({sources})" for pid, sources in sorted(shown.items()))


def _print(answer: JsonObject) -> None:
    said = False
    for key, word in _WORDS.items():
        if answer.get(key):
            said = True
            print_line(f"{word}: {', '.join(answer[key])}")
    later = answer.get("needs_restart")
    if not said:
        print_line("Nothing changes before the next start." if later else "Nothing has changed.")
    if later:
        from utcp_bridge.configuration.changes import later_words

        reasons = answer.get("restart_reasons", {})
        said_of = later_words({name: reasons.get(name, "") for name in later})
        complain(f"These changes take effect at the next start: {said_of}.")
    manuals: dict[str, Any] = answer.get("manuals", {})
    for name, manual in manuals.items():
        for text in manual.get("errors", ()):
            complain(f"Manual {name}: {text}")


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

    from utcp_bridge.tasks import collector

    await client.wait_loaded(client.settings.startup_wait)
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, _YOUNG_COLLECTIONS, _MIDDLE_COLLECTIONS)
    gc.enable()
    survivors = _Survivors()
    gc.callbacks.append(survivors.freeze)
    collector.freezes = True
    try:
        await anyio.sleep_forever()
    finally:
        collector.freezes = False
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
