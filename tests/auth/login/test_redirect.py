"""The receiver of a redirect: one port of this machine, one request."""

from __future__ import annotations

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.auth.login.person import DeviceCode, Person, open_browser, redirected
from utcp_bridge.auth.login.redirect import RedirectReceiver, receiving
from utcp_bridge.auth.login.refusals import LoginPage
from utcp_bridge.errors import ConfigError, LoginFailed, PolicyError

pytestmark = pytest.mark.anyio


async def get(url: str, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False) as browser:
        return await browser.get(url, headers=headers)


async def test_the_first_redirect_with_the_state_counts_and_no_other() -> None:
    async with receiving() as receiver:
        assert receiver.uri.startswith("http://127.0.0.1:")
        receiver.expect("s1")
        for query in ("", "?code=a", "?code=a&state=", "?code=a&state=s2", "?state=s1", "?code=a&state=s1x"):
            assert (await get(f"{receiver.uri}{query}")).status_code == 400
        assert (await get(f"{receiver.uri}?code=c&state=s1&iss=i")).status_code == 200
        assert (await get(f"{receiver.uri}?code=d&state=s1")).status_code == 400
        assert await receiver.parameters() == {"code": "c", "state": "s1", "iss": "i"}


async def test_a_request_for_another_host_is_refused() -> None:
    async with receiving() as receiver:
        receiver.expect("s")
        assert (await get(f"{receiver.uri}?code=c&state=s", Host="evil.example")).status_code == 400


async def test_the_page_shows_nothing_of_the_request_and_may_do_nothing() -> None:
    async with receiving() as receiver:
        receiver.expect("s")
        page = await get(f"{receiver.uri}?error=<script>1</script>&state=s&error_description=<b>x</b>")
        assert "script" not in page.text
        assert "<b>" not in page.text
        assert "The login was refused" in page.text
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Referrer-Policy"] == "no-referrer"


async def test_the_port_is_closed_after_the_login() -> None:
    async with receiving() as receiver:
        uri = receiver.uri
    with pytest.raises(httpx2.ConnectError):
        await get(uri)


async def test_a_port_in_use_is_reported() -> None:
    async with receiving() as first:
        port = int(first.uri.rpartition(":")[2].partition("/")[0])
        with pytest.raises(ConfigError, match=rf"the port {port} of 127\.0\.0\.1.*`redirect_port`"):
            async with receiving(port):
                pass


class Nobody(Person):
    """Finishes no login, and keeps what is shown."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.shown: list[str] = []

    async def visit(self, url: str) -> None:
        self.shown.append(url)

    async def enter(self, device: DeviceCode) -> None:
        raise NotImplementedError

    async def remind(self, text: str) -> None:
        self.shown.append(text)


@pytest.mark.parametrize("document", [None, "https://tools.example.com/client.json?canary"])
async def test_a_login_that_nobody_finishes_ends_with_what_may_have_happened(document: str | None) -> None:
    person = Nobody(0.01)
    page = LoginPage("https://login.example.com", "tracker", document)
    async with receiving() as receiver:
        with pytest.raises(LoginFailed, match=r"come back from https://login\.example\.com within 0\.01 s") as caught:
            await redirected(person, "https://login.example.com/authorize", receiver, page)
    _, reminder = person.shown
    assert reminder == f"The browser has not come back yet. {page.advice}"
    assert page.advice in str(caught.value.remedy)
    assert ("https://tools.example.com/client.json" in page.advice) == (document is not None)
    assert "utcp-bridge login tracker" in str(caught.value.remedy)
    assert "canary" not in page.advice


@given(st.text(max_size=200))
def test_any_pasted_text_is_taken_or_refused_in_one_sentence(text: str) -> None:
    receiver = RedirectReceiver("http://127.0.0.1:1/callback")
    receiver.expect("state-of-this-login")
    if "state-of-this-login" not in text:
        with pytest.raises(LoginFailed, match="is not the URL"):
            receiver.paste(text)


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example/authorize",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://user:password@login.example/",
        "ftp://127.0.0.1/",
        "--help",
        "http://127.0.0.1.evil.example/",
        "http://[::1",
    ],
)
async def test_no_browser_is_opened_at_an_address_that_is_not_a_page_of_a_login(url, monkeypatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with pytest.raises(PolicyError):
        await open_browser(url)
    assert opened == []


@pytest.mark.parametrize(
    "url", ["https://login.example/a?b=c", "http://127.0.0.1:9/a", "http://[::1]:9/", "http://localhost/"]
)
async def test_a_page_of_a_login_is_opened(url, monkeypatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    assert await open_browser(url)
    assert opened == [url]
    assert not await open_browser(f"{url}'\"; rm -rf")
    assert opened == [url]
