"""HTTP over TLS: the listener's certificate, its renewal, and clients with certificates."""

import json
import os
import shutil
import signal
import ssl
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from tests.support.hot_requests import bridge, plain
from tests.support.served_here import serve
from tests.upstreams.certificates import Authority

from utcp_bridge.errors import ConfigError
from utcp_bridge.server.http import build_app, serve_http

pytestmark = pytest.mark.anyio
JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
CALL = {
    **JSON,
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "m_echo",
}


@pytest.fixture
def authority(tmp_path):
    made = Authority.create(tmp_path)
    made.server_context()
    return made


def tls(authority, **more):
    folder = authority.folder
    return {"tls_certificate": str(folder / "server.pem"), "tls_key": str(folder / "server.key"), **more}


def trusting(authority, *, client=False):
    context = ssl.create_default_context(cafile=authority.ca)
    if client:
        context.load_cert_chain(authority.client_cert, authority.client_key)
    return context


async def presented(url, context):
    """Return the certificate that a new connection gets."""
    parts = urlsplit(url)
    stream = await anyio.connect_tcp(
        parts.hostname, parts.port, tls=True, ssl_context=context, tls_standard_compatible=False
    )
    async with stream:
        return stream.extra(anyio.streams.tls.TLSAttribute.peer_certificate_binary)


async def test_calls_and_probes_over_tls(authority):
    async def work(url):
        assert url.startswith("https://127.0.0.1:")
        async with httpx2.AsyncClient(verify=trusting(authority), timeout=60) as http:
            assert (await http.get(url.replace("/mcp", "/healthz"))).json() == {"status": "ok"}
            call = plain("tools/call", {"name": "m_echo", "arguments": {"n": 1}}, modern=True)
            for _ in range(2):
                found = await http.post(url, json=call, headers=CALL)
                assert found.status_code == 200
            assert f"{url}\n" in (await http.get(url)).text
        with pytest.raises(ssl.SSLError):
            await presented(url, ssl.create_default_context())

    await serve(bridge(**tls(authority)), work)


@pytest.mark.parametrize("how", ["change", pytest.param("hangup", marks=pytest.mark.posix)])
async def test_a_renewed_certificate_is_used_for_new_connections(authority, how):
    folder = authority.folder

    async def work(url):
        context = trusting(authority)
        before = await presented(url, context)
        for name in ("server.pem", "server.key"):
            shutil.copy(folder / name, folder / f"old-{name}")
        authority.server_context()
        if how == "hangup":
            os.kill(os.getpid(), signal.SIGHUP)
        with anyio.fail_after(60):
            while await presented(url, context) == before:  # noqa: ASYNC110 - a watcher looks once a second
                await anyio.sleep(0.05)
        renewed = await presented(url, context)
        (folder / "server.key").write_text("not a key")
        async with httpx2.AsyncClient(verify=context, timeout=60) as http:
            assert (await http.get(url.replace("/mcp", "/healthz"))).status_code == 200
        assert await presented(url, context) == renewed

    await serve(bridge(**tls(authority)), work)


async def test_a_client_certificate_is_a_principal_and_without_one_only_probes_answer(authority):
    async def work(url):
        call = plain("tools/call", {"name": "m_echo", "arguments": {"n": 1}}, modern=True)
        async with httpx2.AsyncClient(verify=trusting(authority, client=True), timeout=60) as http:
            for _ in range(3):
                assert (await http.post(url, json=call, headers=CALL)).status_code == 200
        async with httpx2.AsyncClient(verify=trusting(authority), timeout=60) as http:
            assert (await http.post(url, json=call, headers=CALL)).status_code == 401
            assert (await http.get(url.replace("/mcp", "/readyz"))).status_code == 200
        assert names == ["certificate:a-client"] * 3

    names = []
    server = bridge(**tls(authority, tls_client_ca=authority.ca))
    budgets = server.budgets.of
    server.budgets.of = lambda caller: names.append(caller.principal.name) or budgets(caller)
    await serve(server, work)


@pytest.mark.parametrize(
    ("profiles", "statuses"),
    [
        ({}, {"/mcp": 200, "/mcp/p/one": 200, "/mcp/p/two": 200}),
        ({"a-*": ["one"], "other": ["two"]}, {"/mcp": 200, "/mcp/p/one": 200, "/mcp/p/two": 404}),
        ({"other": ["two"]}, {"/mcp": 404, "/mcp/p/one": 404, "/mcp/p/two": 404}),
    ],
    ids=["not bound", "bound", "bound to none"],
)
async def test_a_client_certificate_has_the_profiles_of_its_name(authority, profiles, statuses):
    async def work(url):
        call = plain("tools/call", {"name": "m_echo", "arguments": {"n": 1}}, modern=True)
        async with httpx2.AsyncClient(verify=trusting(authority, client=True), timeout=60) as http:
            for path, status in statuses.items():
                reply = await http.post(url.replace("/mcp", path), json=call, headers=CALL)
                assert (path, reply.status_code) == (path, status), reply.text

    settings = {"tls_client_ca": authority.ca, "tls_profiles": profiles, "profiles": {"one": {}, "two": {}}}
    await serve(bridge(**tls(authority, **settings)), work)


async def test_a_client_certificate_of_another_authority_is_refused(authority, tmp_path_factory):
    stranger = Authority.create(tmp_path_factory.mktemp("stranger"))

    async def work(url):
        context = trusting(authority)
        context.load_cert_chain(stranger.client_cert, stranger.client_key)
        async with httpx2.AsyncClient(verify=context, timeout=60) as http:
            with pytest.raises(httpx2.TransportError):
                await http.get(url.replace("/mcp", "/healthz"))

    await serve(bridge(**tls(authority, tls_client_ca=authority.ca)), work)


async def test_with_a_token_and_a_certificate_both_are_needed(authority):
    async def work(url):
        body = json.dumps(plain("ping"))
        token = {**JSON, "Authorization": "Bearer " + "t" * 16}
        for client, headers, status in ((True, token, 400), (True, JSON, 401), (False, token, 401)):
            async with httpx2.AsyncClient(verify=trusting(authority, client=client), timeout=60) as http:
                assert (await http.post(url, content=body, headers=headers)).status_code == status

    await serve(bridge(**tls(authority, tls_client_ca=authority.ca), bearer_token="t" * 16), work)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tls_key": None}, "needs both `tls.certificate` and `tls.key`"),
        ({"tls_certificate": None}, "needs both `tls.certificate` and `tls.key`"),
        ({"tls_key": "missing.key"}, "Setting tls.key: .*missing.key cannot be used: No such file"),
        ({"tls_key": "client.key"}, "Setting tls.certificate: .*server.pem cannot be used: .* another certificate"),
        ({"tls_client_ca": "server.key"}, "Setting tls.client_ca: .*server.key cannot be used"),
    ],
)
async def test_a_file_that_cannot_be_used_ends_the_start_and_is_named(authority, change, named):
    placed = {key: value and str(authority.folder / value) for key, value in change.items()}
    with pytest.raises(ConfigError, match=named):
        await serve_http(bridge(**{**tls(authority), **placed}))


async def test_settings_that_would_open_a_bridge_to_everyone_are_not_taken_over():
    server = bridge(host="0.0.0.0", bearer_token="t" * 20)
    build_app(server)
    (prepare,) = server.client.on_prepare
    with pytest.raises(ConfigError, match="would let anyone on the network call every tool"):
        prepare(server.client.settings.model_copy(update={"bearer_token": None}), ["bearer_token"])
