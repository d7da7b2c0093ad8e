"""The way to the person who logs in: a terminal with a browser, or a host that asks for the bridge."""

from __future__ import annotations

import webbrowser
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from utcp_bridge.auth.login.endpoints import checked_url
from utcp_bridge.auth.login.redirect import MAX_LOGIN_SECONDS, RedirectReceiver
from utcp_bridge.auth.login.refusals import LoginPage
from utcp_bridge.errors import LoginFailed

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

__all__ = ["DeviceCode", "Person", "open_browser", "redirected"]


@dataclass(frozen=True, slots=True, repr=False)
class DeviceCode:
    """What a person enters elsewhere (RFC 8628 section 3.2). `complete` is a URL that has the code already."""

    url: str
    code: str
    complete: str | None = None


_REMIND_SECONDS: Final = 20.0


class Person(ABC):
    """Somebody who can log in. The methods return when the person was asked, not when the login is done."""

    seconds: float = MAX_LOGIN_SECONDS
    """How long a login waits for this person."""

    @abstractmethod
    async def visit(self, url: str) -> None:
        """Bring the person to a page of the authorization server."""

    @abstractmethod
    async def enter(self, device: DeviceCode) -> None:
        """Show a code, and where it is entered."""

    async def remind(self, text: str) -> None:
        """Show why a redirect may not come, some time after the visit. By default, nobody reads it."""
        del text

    async def pasted(self) -> str:
        """Return the URL of a redirect that did not reach this machine. By default it never comes."""
        await anyio.sleep_forever()
        raise AssertionError


async def redirected(person: Person, url: str, receiver: RedirectReceiver, page: LoginPage) -> dict[str, str]:
    """Bring the person to a page, and return the parameters of the redirect at its end.

    A server that does not know the client, or its redirect URI, shows its error in the browser alone (RFC 6749 section
    4.1.2.1). So the person is reminded of that, and the login ends after some time.

    :raises PolicyError: the page is not on https.
    :raises LoginFailed: the redirect did not come, or is not the expected one.
    """
    await person.visit(checked_url(url))

    found: dict[str, str] = {}
    failure: list[LoginFailed] = []

    async def attempt(work: Callable[[], Awaitable[None]], group: TaskGroup) -> None:
        try:
            await work()
        except LoginFailed as error:
            failure.append(error)
            group.cancel_scope.cancel()

    async def paste() -> None:
        receiver.paste(await person.pasted())

    async def wait() -> None:
        remind_after = min(_REMIND_SECONDS, person.seconds / 2)
        with anyio.move_on_after(remind_after):
            found.update(await receiver.parameters())
            return
        await person.remind(f"The browser has not come back yet. {page.advice}")
        with anyio.move_on_after(person.seconds - remind_after):
            found.update(await receiver.parameters())
            return
        raise page.no_redirect(person.seconds)

    async with anyio.create_task_group() as group:
        group.start_soon(attempt, paste, group)
        await attempt(wait, group)
        group.cancel_scope.cancel()
    if failure and not found:
        raise failure[0]
    return found


async def open_browser(url: str) -> bool:
    """Open the browser of this machine at a checked URL; False if it has none. No shell sees the URL.

    :raises PolicyError: the URL is not https, nor http on this machine.
    """
    checked_url(url)
    if not url.isascii() or not url.isprintable() or '"' in url or "'" in url:
        return False
    return await anyio.to_thread.run_sync(webbrowser.open, url)
