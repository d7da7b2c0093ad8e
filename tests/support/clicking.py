"""A person whose browser follows the redirects of a login, without a window."""

from __future__ import annotations

import anyio
import httpx2

from utcp_bridge.auth.login.person import DeviceCode, Person


class Clicking(Person):
    """Opens each page with an HTTP client of its own and follows it to the end. `pages` are those it saw."""

    def __init__(self) -> None:
        self.visited: list[str] = []
        self.pages: list[httpx2.Response] = []
        self.codes: list[DeviceCode] = []

    async def visit(self, url: str) -> None:
        self.visited.append(url)
        async with httpx2.AsyncClient(trust_env=False) as browser:
            self.pages.append(await browser.get(url, follow_redirects=True))

    async def enter(self, device: DeviceCode) -> None:
        self.codes.append(device)


class Pasting(Person):
    """Copies the address of the last page from a browser of another machine."""

    def __init__(self, change=lambda url: url) -> None:
        self._change = change
        self._address = ""
        self._ready = anyio.Event()

    async def visit(self, url: str) -> None:
        async with httpx2.AsyncClient(trust_env=False) as browser:
            self._address = self._change((await browser.get(url)).headers["location"])
        self._ready.set()

    async def enter(self, device: DeviceCode) -> None:
        raise AssertionError(device)

    async def pasted(self) -> str:
        await self._ready.wait()
        return self._address
