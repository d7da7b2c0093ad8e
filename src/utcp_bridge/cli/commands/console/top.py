"""`utcp-bridge top`: the state of a running bridge in a terminal, read from its admin API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import run_async
from utcp_bridge.cli.options import debug_option
from utcp_bridge.cli.output import print_json, print_line, print_table
from utcp_bridge.cli.program import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from utcp_bridge.model import JsonObject
    from utcp_bridge.net.http import HttpPool

__all__ = ["top"]

_ADDRESS: Final = "http://127.0.0.1:8000"
_MAX_REPLY: Final = 16 * 1024 * 1024
_CALLS: Final = 15
_COLOURS: Final = {"ready": "green", "ok": "green", "failed": "red", "degraded": "yellow", "loading": "blue"}
_Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


@click.command(
    epilog="""\b
Examples:
  utcp-bridge top                              the bridge on http://127.0.0.1:8000
  utcp-bridge top http://127.0.0.1:9000 --once
\b
Exit codes:
"""
    + exits.listed(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.UPSTREAM, exits.INTERRUPTED)
)
@click.argument("address", default=_ADDRESS, metavar="[URL]")
@click.option("--seconds", type=click.FloatRange(0.2, 3_600), default=2.0, help="Seconds between two readings.")
@click.option("--once", is_flag=True, help="Print the state once, also without a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON once, for scripts.")
@click.option(
    "--token", envvar="UTCP_BRIDGE_BEARER_TOKEN", show_envvar=True, help="Token of the bridge, if it wants one."
)
@debug_option
@click.pass_obj
def top(session: Session, /, address: str, seconds: float, once: bool, as_json: bool, token: str | None) -> int:
    """Show the manuals and the last calls of a running bridge in the terminal.

    URL is the address of a bridge that serves HTTP with its console. Ctrl-C ends the display.
    """
    session.as_json = as_json
    return run_async(_top, address.rstrip("/"), seconds, once, as_json, token)


async def _top(address: str, seconds: float, once: bool, as_json: bool, token: str | None) -> int:
    import anyio

    from utcp_bridge.errors import ConfigError, MissingExtra
    from utcp_bridge.net.guard import Guard
    from utcp_bridge.net.http import HttpPool

    if not address.startswith(("http://", "https://")):
        raise click.UsageError("URL must begin with http:// or https://.")
    pool = HttpPool(Guard(), max_response_bytes=_MAX_REPLY)
    try:
        state = await _state(pool, address, token)
        if as_json:
            print_json(state)
        elif once:
            _print(state)
        elif find_spec("rich") is None:
            line = f"Install it with: {MissingExtra.install_line('console')}, or use --once."
            raise ConfigError("The display needs packages that are not installed.", remedy=line)
        else:
            await _show(pool, address, token, state, seconds)
    finally:
        with anyio.CancelScope(shield=True):
            await pool.aclose()
    return exits.OK


async def _state(pool: HttpPool, address: str, token: str | None) -> JsonObject:
    """Return {status, manuals, calls, replicas} of a bridge, with the manuals and calls of all of its replicas.

    :raises UtcpError: the bridge cannot be reached, or refuses.
    """
    status = await _read(pool, address, token, "status")
    manuals = await _read(pool, address, token, "manuals")
    calls = await _read(pool, address, token, f"calls?limit={_CALLS}")
    replicas = await _read(pool, address, token, "replicas")
    return {"status": status, "manuals": manuals["manuals"], **calls, "replicas": replicas}


async def _read(pool: HttpPool, address: str, token: str | None, path: str) -> JsonObject:
    from pydantic_core import from_json

    from utcp_bridge.errors import MalformedReply, Rejected, Unreachable
    from utcp_bridge.model import Source, is_object
    from utcp_bridge.placement.request import RequestParts
    from utcp_bridge.urls import endpoint_of_url

    headers = [("Accept", "application/json"), *([("Authorization", f"Bearer {token}")] if token else [])]
    session = pool.session(Source("the bridge", exempt=frozenset({endpoint_of_url(address)})))
    try:
        reply = await session.request(RequestParts("GET", f"{address}/admin/api/{path}", headers))
    except Unreachable as error:
        advice = "Start a bridge with `utcp-bridge serve CONFIG --http`, or name the URL of the one that runs."
        raise Unreachable(error.message, remedy=error.remedy or advice) from error
    try:
        found: Any = from_json(reply.body)
    except ValueError:
        found = None
    if not is_object(found):
        raise MalformedReply(f"{address} is not a bridge with a console.", remedy="Name the address of the bridge.")
    if reply.status != 200:
        message = f"{address} refuses: {found.get('message', reply.status)}"
        remedy = found.get("remedy") or ("Give its token with --token." if reply.status == 401 and not token else None)
        raise Rejected(message, status=reply.status, remedy=remedy)
    return found


_NO_CALLS: Final = "No call yet. The bridge records its calls from the first visit of the console on."


def _count(number: int | None) -> str:
    """Return a number as it is shown; of a replica that has not answered yet, it is not known."""
    return "" if number is None else f"{number:,}"


def _tables(state: JsonObject) -> Iterator[_Table]:
    """Yield the title, the headings and the rows of each table."""
    if every := state["replicas"]["replicas"]:
        ready = f"{state['replicas']['ready']} of {len(every)} ready, seen from {state['replicas']['seen']}"
        replicas = [
            (one["state"], one["name"], *(_count(one[key]) for key in ("tools", "failed", "open")), one["version"])
            for one in every
        ]
        yield f"Replicas ({ready})", ("STATE", "REPLICA", "TOOLS", "FAILED", "BREAKERS", "VERSION"), replicas
    manuals: list[tuple[str, ...]] = []
    for one in state["manuals"]:
        error = one["error"]
        remark = f"{error['cause']} {error['remedy']}" if error else one["faults"][0]["what"] if one["faults"] else ""
        manuals.append((one["state"], one["name"], one["kind"], f"{one['tools']:,}", " ".join(remark.split())))
    yield "Manuals", ("STATE", "MANUAL", "KIND", "TOOLS", "REMARK"), manuals
    calls: list[tuple[str, ...]] = [
        (
            one["outcome"],
            one["tool"],
            f"{one['seconds'] * 1000:,.1f}",
            f"{datetime.fromtimestamp(one['time'], UTC):%H:%M:%S}",
            *([one["replica"]] if every else []),
        )
        for one in state["calls"]
    ]
    what = f"Last calls ({state['number']:,} in all)" if calls else _NO_CALLS
    yield what, ("OUTCOME", "TOOL", "MS", "TIME (UTC)", *(["REPLICA"] if every else [])), calls


def _print(state: JsonObject) -> None:
    for title, headings, rows in _tables(state):
        print_line(title)
        if rows:
            print_table(headings, rows)


async def _show(pool: HttpPool, address: str, token: str | None, state: JsonObject, seconds: float) -> None:
    """Show the state until the command is interrupted. A bridge that is away for a while is waited for."""
    import anyio
    from rich.live import Live

    from utcp_bridge.errors import UtcpError

    with Live(_drawn(address, state, ""), screen=True, auto_refresh=False) as live:
        while True:
            await anyio.sleep(seconds)
            trouble = ""
            try:
                state = await _state(pool, address, token)
            except UtcpError as error:
                trouble = str(error)
            live.update(_drawn(address, state, trouble), refresh=True)


def _drawn(address: str, state: JsonObject, trouble: str) -> RenderableType:
    """Return what the terminal shows. Every text is plain, so nothing of a manual is read as markup."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def row(cells: Sequence[str]) -> list[Text]:
        return [Text(cells[0], style=_COLOURS.get(cells[0], "red")), *map(Text, cells[1:])]

    head = Text(
        f"utcp-bridge {state['status']['version']}  {address}  {'ready' if state['status']['ready'] else 'not ready'}"
    )
    parts: list[RenderableType] = [head]
    if trouble:
        parts.append(Text(trouble, style="red"))
    for title, headings, rows in _tables(state):
        table = Table(*headings, title=title, title_justify="left", expand=True, box=None, header_style="dim")
        for cells in rows:
            table.add_row(*row(cells))
        parts.append(table)
    return Group(*parts)
