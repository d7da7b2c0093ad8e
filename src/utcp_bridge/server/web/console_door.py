"""The door of the console (`console/`): which requests reach it, before it asks who the visitor is.

With `console: auto`, they come from this machine, and no proxy passed them on. With `on`, they may come from elsewhere
too, if the bridge recognises its callers. Host is checked for all.
"""

from __future__ import annotations

from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from utcp_bridge.console.admin import Admin, LockPort
from utcp_bridge.console.api import BASE
from utcp_bridge.console.site import ConsoleSite, takes
from utcp_bridge.console.visitors import Visitors, is_here
from utcp_bridge.errors import ConfigError, MissingExtra
from utcp_bridge.model import JsonObject
from utcp_bridge.server.replicas.overview import Overview
from utcp_bridge.server.replicas.visits import SharedVisits
from utcp_bridge.server.replies import Receive, Scope, Send, respond

if TYPE_CHECKING:
    from collections.abc import Callable

    from utcp_bridge.access.gatekeeper import Gatekeeper
    from utcp_bridge.server.app import BridgeServer
    from utcp_bridge.server.web.doors import Doors
    from utcp_bridge.settings import TelemetrySettings

__all__ = ["EXTRA", "ConsoleDoor", "console_door", "insist_on_console", "missing_console"]

EXTRA: Final = "console"


_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>UTCP bridge</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>body{{font:1.1em/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em;overflow-wrap:anywhere}}
</style><main><h1>The console does not open here</h1><p>{message}</p><p>{remedy}</p></main></html>
"""
_PAGE_HEADERS: Final = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


async def _refuse(scope: Scope, send: Send, status: int, document: JsonObject) -> None:
    """Send a refusal: a page to a browser that opens an address, otherwise JSON."""
    if not _wants_page(scope):
        await respond(send, status, document)
        return
    page = _PAGE.format(message=escape(document["message"]), remedy=escape(document.get("remedy", "")))
    data = page.encode(errors="replace")
    headers = [*_PAGE_HEADERS, (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else data})


def _wants_page(scope: Scope) -> bool:
    """Return whether a browser opens an address. The admin API returns JSON to all."""
    accepts = (value for name, value in scope["headers"] if name == b"accept")
    if scope["path"].startswith(f"{BASE}/"):
        return False
    return scope["method"] in {"GET", "HEAD"} and any(b"text/html" in value for value in accepts)


class ConsoleDoor:
    """Passes requests to the site, or refuses them. Without Jinja, the site is None."""

    def __init__(
        self,
        site: ConsoleSite | None,
        doors: Doors,
        *,
        path: str = "",
        keeper: Gatekeeper | None = None,
        mode: Callable[[], str] = lambda: "auto",
    ) -> None:
        """`mode` returns the setting. With `on`, `keeper` recognises visitors from elsewhere if callers need tokens."""
        self.site = site
        self._doors = doors
        self._path = path
        self._keeper = keeper
        self._mode = mode

    def takes(self, scope: Scope) -> bool:
        """Return whether a request is for the console. The path of the MCP endpoint never is."""
        return takes(scope) and scope["path"] != self._path and self._mode() != "off"

    async def refuses(self, scope: Scope, send: Send) -> bool:
        """Answer a request that must not reach the site; return whether this was one."""
        if (refused := self._doors.refusal([one for one in scope["headers"] if one[0] != b"origin"])) is not None:
            await _refuse(scope, send, *refused)
            return True
        opens_elsewhere = self._mode() == "on" and self._keeper is not None and not self._keeper.is_open
        if not (opens_elsewhere or is_here(scope)):
            message = "The console is for browsers on the machine of the bridge."
            remedy = "Set `telemetry.console` to `on`, to let in principals with the right to it from elsewhere."
            await _refuse(scope, send, 403, {"error": "not allowed", "message": message, "remedy": remedy})
            return True
        if self.site is None:
            await _refuse(scope, send, 501, {"error": "not installed", "message": missing_console()})
            return True
        return False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that was let in."""
        if self.site is not None:
            await self.site(scope, receive, send)


def console_door(
    server: BridgeServer, doors: Doors, keeper: Gatekeeper | None, lock: LockPort | None = None
) -> ConsoleDoor:
    """Return the door of the console, which is as open as the settings say at the moment.

    `lock` compares the tools with `utcp.lock`. Of several processes behind one address, one has the visitors of all
    (`Replica.place_of`).

    :raises ConfigError: the setting says `on`, and Jinja is not installed.
    """
    client = server.part.whole
    settings = client.settings
    insist_on_console(settings)
    is_installed = _is_installed()
    overview = Overview(client.shared, lambda: server.replica, server.readiness.summary)
    admin = Admin(
        client,
        lambda: server.readiness.whole(server.readiness.summary()),
        lock=lock,
        catalogue=lambda: server.catalogue,
        overview=overview.found if overview.is_one_of_several else None,
    )
    server.fleet.marks = admin.marks_for_others
    visits: SharedVisits | None = None
    if (shared := client.shared) is not None:
        words = shared.summary
        shared.summary = lambda: {**words(), **admin.marks_for_others()}
        if settings.state_key is not None:
            visits = SharedVisits(shared, settings.state_key.get_secret_value())
    others = server.fleet if overview.is_one_of_several else None
    site = ConsoleSite(admin, Visitors(keeper, visits=visits), others) if is_installed else None
    return ConsoleDoor(site, doors, path=settings.path, keeper=keeper, mode=lambda: settings.console)


def _is_installed() -> bool:
    return find_spec("jinja2") is not None


def insist_on_console(settings: TelemetrySettings) -> None:
    """Check that the console can be shown if the settings want it in any case.

    :raises ConfigError: Jinja is not installed.
    """
    if settings.console == "on" and not _is_installed():
        raise ConfigError("The console needs packages that are not installed.", remedy=missing_console())


def missing_console() -> str:
    """Return the sentence that says how to install the console."""
    return f"Install the console with: {MissingExtra.install_line(EXTRA)}"
