"""Logins at services that are not MCP servers, through the client."""

from __future__ import annotations

import pytest
from tests.support.clicking import Clicking
from tests.upstreams.login_service import CLIENT, SECRET, login_service

from utcp_bridge import UtcpClient
from utcp_bridge.auth.login.flows import OAuthLogin, log_in
from utcp_bridge.errors import AuthRequired, ConfigError, LoginFailed, PolicyError

pytestmark = pytest.mark.anyio
LOGIN = {"auth_type": "oauth2_login", "client_id": CLIENT}


async def opened(entry, **variables) -> UtcpClient:
    config = {"manual_call_templates": [entry], "variables": variables, "bridge": {"token_store": "memory"}}
    return await UtcpClient.create(config)


def api(service, **more):
    return {"name": "shop", "call_template_type": "http", "url": service.document_url, "http_method": "GET", **more}


async def test_a_document_says_where_to_log_in_and_a_variable_names_the_client() -> None:
    variables = {"shop_SHOP_CLIENT_ID": CLIENT, "shop_SHOP_CLIENT_SECRET": SECRET}
    async with login_service() as service, await opened(api(service), **variables) as client:
        with pytest.raises(AuthRequired, match=r"needs a login\. Run `utcp-bridge login shop`"):
            await client.call_tool("shop.items", {})
        person = Clicking()
        [record] = await client.login_desk.log_in("shop", person)
        assert await client.call_tool("shop.items", {}) == {"items": [1, 2]}
        [asked] = service.asked
        assert set(asked["scope"].split()) == {"read", "write"}  # of all its tools
        assert asked["code_challenge_method"] == "S256"
        assert record.token_endpoint == f"{service.url}/token"
        service.tokens.clear()
        assert await client.call_tool("shop.items", {}) == {"items": [1, 2]}
        assert service.forms[-1]["grant_type"] == "refresh_token"


async def test_a_public_client_has_no_secret() -> None:
    variables = {"shop_SHOP_CLIENT_ID": CLIENT}
    async with login_service(public=True) as service, await opened(api(service), **variables) as client:
        await client.login_desk.log_in("shop", Clicking())
        assert await client.call_tool("shop.items", {}) == {"items": [1, 2]}


async def test_an_entry_completes_what_the_document_says() -> None:
    auth = {**LOGIN, "client_secret": SECRET, "scope": "read"}
    async with login_service() as service, await opened(api(service, auth_tools=auth)) as client:
        await client.login_desk.log_in("shop", Clicking())
        assert service.asked[0]["scope"] == "read"
        assert await client.call_tool("shop.items", {}) == {"items": [1, 2]}


@pytest.mark.parametrize("methods", [(), ("plain", "S256"), ("plain",), ("s256",)])
async def test_pkce_with_s256_must_be_possible(methods: tuple[str, ...]) -> None:
    person = Clicking()
    async with login_service(methods=methods) as service:
        auth = {**LOGIN, "client_secret": SECRET, "issuer": service.issuer}
        async with await opened(api(service, auth_tools=auth)) as client:
            if not methods or "S256" in methods:
                await client.login_desk.log_in("shop", person)
                return
            with pytest.raises(LoginFailed, match="does not support PKCE with S256"):
                await client.login_desk.log_in("shop", person)
    assert not person.visited


async def test_an_issuer_is_enough() -> None:
    async with login_service() as service:
        auth = {**LOGIN, "client_secret": SECRET, "issuer": service.issuer, "audience": "shop", "resource": "urn:shop"}
        async with await opened(api(service, auth_tools=auth)) as client:
            [record] = await client.login_desk.log_in("shop", Clicking())
            assert record.issuer == service.issuer
            assert service.asked[0]["audience"] == service.forms[-1]["audience"] == "shop"
            assert service.asked[0]["resource"] == "urn:shop"
            assert await client.call_tool("shop.items", {}) == {"items": [1, 2]}


async def device_login(service, client):
    """Log in with a code, without waiting between the questions. Return the waits that were asked for."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    person = Clicking()
    [login] = client.login_desk.possible("shop")
    assert isinstance(login, OAuthLogin)
    record = await log_in(login._auth, login.holder, person, scope=login.scope, sleep=sleep)
    await client.login_desk._logins.save(login.holder.key, record)
    return person, waits


async def test_a_code_is_entered_elsewhere() -> None:
    auth = {**LOGIN, "client_secret": SECRET, "flow": "device"}
    replies = ["authorization_pending", "slow_down", "authorization_pending"]
    async with login_service(device_replies=replies) as service, await opened(api(service, auth_tools=auth)) as client:
        person, waits = await device_login(service, client)
        assert [(device.code, device.url) for device in person.codes] == [("ABCD-EFGH", f"{service.url}/enter")]
        assert waits == [5, 5, 10, 10]
        assert await client.call_tool("shop.items", {}) == {"items": [1, 2]}


@pytest.mark.parametrize(
    ("reply", "words"),
    [("access_denied", "The access was refused"), ("expired_token", "was not entered in time"), ("odd", r"\(odd\)")],
)
async def test_a_refused_code_is_reported(reply, words) -> None:
    auth = {**LOGIN, "client_secret": SECRET, "flow": "device"}
    async with login_service(device_replies=[reply]) as service, await opened(api(service, auth_tools=auth)) as client:
        with pytest.raises(LoginFailed, match=words):
            await device_login(service, client)


async def test_a_page_that_is_not_on_https_is_not_shown() -> None:
    auth = {**LOGIN, "client_secret": SECRET, "flow": "device"}
    service_of = login_service(verification_url="http://login.example/enter")
    async with service_of as service, await opened(api(service, auth_tools=auth)) as client:
        with pytest.raises(PolicyError, match="is not on https"):
            await device_login(service, client)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": "access_denied"}, "The access was refused"),
        ({"error": "<b>odd</b>"}, r"refused the login \(an unknown error\)"),
        ({"iss": "https://other.example"}, r"says that it is https://other\.example"),
    ],
)
async def test_a_redirect_with_something_wrong_is_reported(answer, words) -> None:
    async with login_service(answer=answer) as service:
        auth = {**LOGIN, "client_secret": SECRET, "issuer": service.issuer}
        async with await opened(api(service, auth_tools=auth)) as client:
            person = Clicking()
            with pytest.raises(LoginFailed, match=words):
                await client.login_desk.log_in("shop", person)
            assert "<b>" not in person.pages[0].text


async def test_a_fetched_document_cannot_have_the_secret_sent_elsewhere() -> None:
    """Its token URL is at another origin, so the operator must allow that first."""
    variables = {"shop_SHOP_CLIENT_ID": CLIENT, "shop_SHOP_CLIENT_SECRET": SECRET}
    async with login_service() as elsewhere, login_service(login_url=elsewhere.url) as service:
        async with await opened(api(service), **variables) as client:
            [state] = client.report()
            assert "which is not one of its own origins" in str(state.faults[0])
            with pytest.raises(ConfigError, match="nothing to log in to"):
                await client.login_desk.log_in("shop", Clicking())
        assert elsewhere.forms == elsewhere.asked == []
        async with await opened(api(service, allowed_origins=[elsewhere.url]), **variables) as client:
            await client.login_desk.log_in("shop", Clicking())
        assert elsewhere.forms


async def test_a_login_without_a_client_or_an_address_names_what_is_missing() -> None:
    async with login_service() as service:
        entry = {"name": "shop", "call_template_type": "http", "url": service.items_url, "http_method": "GET"}
        for auth, words in (
            ({"auth_type": "oauth2_login", "token_url": f"{service.url}/token"}, "client_id"),
            ({**LOGIN}, "has no `token_url`"),
            ({**LOGIN, "token_url": f"{service.url}/token", "flow": "device"}, "device_authorization_url"),
        ):
            async with await opened({**entry, "auth": auth}) as client:
                with pytest.raises(ConfigError, match=words):
                    await client.login_desk.log_in("shop", Clicking())


async def test_a_manual_without_anything_to_log_in_to_says_so() -> None:
    auth = {"auth_type": "token", "token": "t"}
    async with login_service() as service, await opened(api(service, auth_tools=auth)) as client:
        with pytest.raises(ConfigError, match="has nothing to log in to"):
            await client.login_desk.log_in("shop", Clicking())
        with pytest.raises(ConfigError, match="The configuration does not have a manual 'other'"):
            await client.login_desk.log_in("other", Clicking())
