"""Access tokens that an upstream refused in its own words, with a real authorization server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from tests.upstreams.authorization_server import CLIENT_ID, CLIENT_SECRET, AuthorizationServer, authorization_server

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.auth.models import parse_auth
from utcp_bridge.auth.tokens import TokenCache
from utcp_bridge.errors import Rejected
from utcp_bridge.model import Emit, Trust, discard
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server() -> AsyncIterator[AuthorizationServer]:
    async with authorization_server() as running:
        running.expires_in = 0
        yield running


@pytest.fixture
async def credentials(server: AuthorizationServer) -> AsyncIterator[Credentials]:
    pool = HttpPool(Guard())
    auth = {"token_url": server.token_url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    yield Credentials(parse_auth(auth), frozenset({server.url}), TokenCache(pool), trust=Trust.OPERATOR)
    await pool.aclose()


class Upstream:
    """Admits the valid tokens of the server, and refuses others with its own status."""

    def __init__(self, server: AuthorizationServer, credentials: Credentials, status: Any = "UNAUTHENTICATED") -> None:
        self.server, self.credentials, self.status, self.calls = server, credentials, status, 0

    async def __call__(self, emit: Emit) -> str:
        self.calls += 1
        [(_, value)] = (await self.credentials.additions()).headers
        await anyio.lowlevel.checkpoint()
        if value.removeprefix("Bearer ") not in self.server.tokens:
            raise Rejected("no", status=self.status)
        await emit("partial")
        return "value"


@pytest.mark.parametrize("status", ["UNAUTHENTICATED", 4401])
async def test_a_refused_token_is_renewed_once_for_all_callers(server: Any, credentials: Any, status: Any) -> None:
    upstream = Upstream(server, credentials, status)
    found: list[str] = []

    async def call() -> None:
        found.append(await credentials.with_valid_token(upstream, discard))

    with anyio.fail_after(60):
        for expected in (1, 2):
            async with anyio.create_task_group() as group:
                for _ in range(30):
                    group.start_soon(call)
            assert len(server.requests) == expected, "the token is kept although its life is 0"
            server.revoke_all()
    assert found == ["value"] * 60
    assert upstream.calls == 90


async def test_a_new_token_that_is_refused_too_is_the_error_of_the_call(server: Any, credentials: Any) -> None:
    server.faults = [{"access_token": "one"}, {"access_token": "two"}]
    upstream = Upstream(server, credentials)
    with pytest.raises(Rejected, match="no"):
        await credentials.with_valid_token(upstream, discard)
    assert (upstream.calls, len(server.requests)) == (2, 2)


@pytest.mark.parametrize("status", [401, 403, "PERMISSION_DENIED"])
async def test_other_refusals_are_passed_on(server: Any, credentials: Any, status: Any) -> None:
    server.faults = [{"access_token": "one"}]
    upstream = Upstream(server, credentials, status)
    with pytest.raises(Rejected):
        await credentials.with_valid_token(upstream, discard)
    assert upstream.calls == 1


async def test_a_call_that_emitted_is_not_repeated(credentials: Any) -> None:
    async def call(emit: Emit) -> None:
        await emit("partial")
        raise Rejected("no", status="UNAUTHENTICATED")

    with pytest.raises(Rejected):
        await credentials.with_valid_token(call, discard)
