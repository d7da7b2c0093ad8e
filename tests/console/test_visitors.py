"""Codes, cookies and tokens of visitors."""

import pytest

from utcp_bridge.access.gatekeeper import Gatekeeper
from utcp_bridge.access.tokens import TokenFile
from utcp_bridge.console import visitors as module
from utcp_bridge.console.visitors import SCOPE, Visitors, foreign_request

pytestmark = pytest.mark.anyio


def scope_of(*headers, method="GET", path="/", scheme="http"):
    return {
        "type": "http", "method": method, "path": path, "scheme": scheme, "server": ("127.0.0.1", 8000),
        "query_string": b"", "headers": [(b"host", b"127.0.0.1:8000"), *headers],
    }  # fmt: skip


def with_cookie(set_cookie):
    return scope_of((b"cookie", f"other=1; {set_cookie.partition(';')[0]}".encode()))


async def test_a_code_is_exchanged_once_for_a_cookie():
    visitors = Visitors(needs_code=True)
    code = visitors.new_code()
    assert await visitors.find(scope_of()) is None
    cookie = await visitors.enter(code, scope_of())
    assert cookie is not None
    assert cookie.startswith("utcp_console_8000=")
    assert code not in cookie
    assert await visitors.enter(code, scope_of()) is None
    assert await visitors.find(with_cookie(cookie)) is not None
    await visitors.leave(with_cookie(cookie))
    assert await visitors.find(with_cookie(cookie)) is None


async def test_codes_and_sessions_end(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(module, "loop_time", lambda: clock[0])
    visitors = Visitors(needs_code=True)
    late, code = visitors.new_code(), visitors.new_code()
    cookie = await visitors.enter(code, scope_of(scheme="https"))
    assert cookie.endswith("; Secure")
    clock[0] = 601
    assert await visitors.enter(late, scope_of()) is None
    assert await visitors.find(with_cookie(cookie)) is not None
    clock[0] = 50_000
    assert await visitors.find(with_cookie(cookie)) is None


async def test_guesses_are_refused_after_ten_and_admitted_again_later(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(module, "loop_time", lambda: clock[0])
    visitors = Visitors(needs_code=True)
    code = visitors.new_code()
    for _ in range(10):
        assert await visitors.enter("guess", scope_of()) is None
    assert await visitors.enter(code, scope_of()) is None
    clock[0] = 61
    assert await visitors.enter(code, scope_of()) is not None


async def test_the_oldest_of_too_many_sessions_ends():
    visitors = Visitors(needs_code=True)
    cookies = [await visitors.enter(visitors.new_code(), scope_of()) for _ in range(101)]
    found = [await visitors.find(with_cookie(one)) is not None for one in cookies]
    assert found == [False, *[True] * 100]


async def test_a_named_token_needs_the_scope_and_a_revoked_one_ends_its_session(tmp_path):
    file = TokenFile(tmp_path / "tokens.json")
    plain, right = file.add("plain"), file.add("right", scopes=[SCOPE])
    visitors = Visitors(Gatekeeper(tokens=file))
    assert await visitors.enter(plain.value, scope_of()) is None
    assert await visitors.enter("\u00e9", scope_of()) is None
    cookie = await visitors.enter(right.value, scope_of())
    found = await visitors.find(with_cookie(cookie))
    assert found is not None
    assert found.principal.name == "token:right"
    assert await visitors.find(scope_of((b"authorization", f"Bearer {right.value}".encode()))) is not None
    file.revoke("right")
    assert await visitors.find(with_cookie(cookie)) is None


@pytest.mark.parametrize(
    ("method", "path", "headers", "is_refused"),
    [
        ("GET", "/admin/api/status", [], False),
        ("GET", "/admin/api/status", [(b"origin", b"http://127.0.0.1:8000")], False),
        ("GET", "/admin/api/status", [(b"origin", b"http://127.0.0.1:8001")], True),
        ("GET", "/admin/api/status", [(b"origin", b"null")], True),
        ("GET", "/admin/api/status", [(b"origin", b"http://127.0.0.1:8000")] * 2, True),
        ("GET", "/admin/api/status", [(b"sec-fetch-site", b"cross-site")], True),
        ("GET", "/", [(b"sec-fetch-site", b"cross-site")], False),
        ("POST", "/", [], True),
        ("POST", "/", [(b"x-utcp-console", b"1")], False),
        ("POST", "/", [(b"x-utcp-console", b"1"), (b"sec-fetch-site", b"same-site")], True),
        ("DELETE", "/", [(b"x-utcp-console", b"1"), (b"origin", b"https://evil.example")], True),
    ],
)
def test_requests_of_other_pages_are_refused(method, path, headers, is_refused):
    assert (foreign_request(scope_of(*headers, method=method, path=path)) is not None) is is_refused
