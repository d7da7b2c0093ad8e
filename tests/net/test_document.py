"""Fetching a manual: every kind and place gives the same advice for the same answer of one real server."""

from collections.abc import AsyncIterator

import anyio
import pytest
from tests.upstreams.faulty import FaultyServer, answer, faulty_server

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.configuration import places
from utcp_bridge.convert import convert
from utcp_bridge.errors import UtcpError
from utcp_bridge.model import Document, JsonObject, Source
from utcp_bridge.net.document import document_request, fetch_manual
from utcp_bridge.registry.client import AsyncUTCPRegistry
from utcp_bridge.testing.services import LOOPBACK, open_services

pytestmark = pytest.mark.anyio

MAX_BYTES = 4000
SECRET = "canary"
PAGE = b'<!-- hi --><!doctype html><a href="/openapi.json">the description</a>'
MANUALS = ("http", "sse", "streamable_http", "websocket", "graphql")
ENTRIES = (*MANUALS, "registry")
PLACES = ("config", "convert", "listing")


@pytest.fixture
async def server() -> AsyncIterator[FaultyServer]:
    async with faulty_server() as server:
        yield server


async def problem(kind: str, server: FaultyServer, path: str, **fields: object) -> str:
    """Return what the operator reads when a manual or document of this kind is fetched."""
    url = f"{server.url}{path}?key={SECRET}"
    try:
        if kind == "config":
            await UtcpClient.create(url)
        elif kind == "convert":
            await convert([url])
        elif kind == "listing":
            await AsyncUTCPRegistry(f"{server.url}{path}.json?key={SECRET}").listings()
        else:
            return await loading_problem(entry_of(kind, server, path) | fields)
    except UtcpError as error:
        return str(error)
    raise AssertionError("no error")


def entry_of(kind: str, server: FaultyServer, path: str) -> JsonObject:
    url = f"{server.url}{path}?key={SECRET}"
    if kind == "registry":
        return {"registry": f"{server.url}{path}.json?key={SECRET}"}
    if kind == "websocket":
        socket = f"ws{server.url.removeprefix('http')}/socket"
        return {"call_template_type": kind, "url": socket, "discovery_url": url}
    return {"call_template_type": kind, "url": url}


async def loading_problem(entry: JsonObject) -> str:
    key = "registries" if "registry" in entry else "manual_call_templates"
    config = {key: [{"name": "m", **entry}], "bridge": {"max_manual_bytes": MAX_BYTES}}
    async with await UtcpClient.create(config) as client:
        (state,) = client.report()
        assert state.error is not None
        return str(state.error)


def serve(server: FaultyServer, content: bytes) -> None:
    server.answers |= {"/m": content, "/m.json": content}


@pytest.mark.parametrize("kind", [*ENTRIES, *PLACES])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (answer(PAGE, "text/html"), "returned a web page instead of a"),
        (answer(PAGE, "text/html"), "The page links to {url}/openapi.json: use that address."),
        (answer(PAGE, "application/json"), "returned a web page"),
        (answer(b"<html>hello</html>", "text/html"), "Use the address of the document itself"),
        (answer(b"status 404", "text/plain", "404 Not Found"), "404 Not Found"),
        (answer(b"status 404", "text/plain", "404 Not Found"), "Check the"),
        (answer(b" \n"), "returned status 200 with an empty body"),
        (answer(b"\x89PNG", "image/png"), "returned image/png instead of a"),
        (answer(b'{"name": "\xfc"}'), "is not UTF-8 text (line 1)"),
        (answer(b'{"name": '), "is not valid JSON: unexpected end of data (line 1, column 10)."),
        (
            b"HTTP/1.1 302 Moved\r\nLocation: http://127.0.0.2:9/?key=canary\r\nContent-Length: 0\r\n\r\n",
            "redirects to",
        ),
    ],
    ids=[
        "page",
        "link",
        "page-as-json",
        "bare-page",
        "404",
        "404-advice",
        "empty",
        "image",
        "latin",
        "cut",
        "redirect",
    ],
)
async def test_each_kind_gives_the_same_advice(server: FaultyServer, kind: str, content: bytes, says: str) -> None:
    serve(server, content)
    with anyio.fail_after(60):
        message = await problem(kind, server, "/m")
    assert says.format(url=server.url) in message
    assert SECRET not in message


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
@pytest.mark.parametrize("kind", ENTRIES)
async def test_a_refusal_names_the_key_to_add_to_the_entry(server: FaultyServer, kind: str, status: str) -> None:
    serve(server, answer(b"{}", status=status))
    owner = "registry" if kind == "registry" else "manual"
    message = await problem(kind, server, "/m")
    assert status in message
    assert f'Add "auth" to the entry of the {owner}, for example {{"auth_type": "api_key"' in message
    auth = {"auth_type": "api_key", "api_key": "wrong", "var_name": "X-Key"}
    message = await problem(kind, server, "/m", auth=auth)
    assert f'The server refused the credentials: check "auth" in the entry of the {owner}.' in message
    assert "wrong" not in message


@pytest.mark.parametrize("kind", PLACES)
async def test_a_refusal_says_that_a_place_is_fetched_without_credentials(server: FaultyServer, kind: str) -> None:
    serve(server, answer(b"{}", status="401 Unauthorized"))
    assert "is fetched without credentials. Download the document" in await problem(kind, server, "/m")


@pytest.mark.parametrize("kind", ENTRIES)
async def test_a_document_above_the_limit_names_the_setting(server: FaultyServer, kind: str) -> None:
    serve(server, answer(b"[" + b"1," * MAX_BYTES + b"1]"))
    message = await problem(kind, server, "/m")
    assert f"more than {MAX_BYTES} bytes. Set `max_manual_bytes` above {MAX_BYTES}." in message


@pytest.mark.parametrize("kind", PLACES)
async def test_a_place_above_the_limit_says_how_much_it_may_have(
    server: FaultyServer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "MAX_BYTES", MAX_BYTES)
    serve(server, answer(b"[" + b"1," * MAX_BYTES + b"1]"))
    assert f"Documents may have at most {MAX_BYTES} bytes." in await problem(kind, server, "/m")


@pytest.mark.parametrize("kind", ENTRIES)
async def test_a_slow_server_ends_at_the_discovery_timeout(server: FaultyServer, kind: str) -> None:
    with anyio.fail_after(60):
        assert "within 0.05 seconds" in await problem(kind, server, "/slow", discovery_timeout=0.05)


@pytest.mark.parametrize("kind", PLACES)
async def test_a_slow_place_ends_at_its_own_limit(
    server: FaultyServer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_FETCH_SECONDS", 0.05)
    with anyio.fail_after(60):
        message = await problem(kind, server, "/slow")
    assert f"{server.url}/slow" in message
    assert "did not return the whole document within 0.05 seconds." in message
    assert SECRET not in message


@pytest.mark.parametrize("kind", MANUALS)
async def test_json_that_is_not_a_manual_says_what_to_point_at(server: FaultyServer, kind: str) -> None:
    serve(server, answer(b'{"hello": 1}'))
    assert "not a UTCP manual or an OpenAPI description. Point the manual at a document" in await problem(
        kind, server, "/m"
    )


@pytest.mark.parametrize("kind", ["config", "convert", *MANUALS])
@pytest.mark.parametrize(
    ("content", "media_type", "words"),
    [
        (b'syntax = "proto3";\nservice S {}\n', "text/plain", ("a Protocol Buffers file (.proto)", "`proto_files`")),
        (b'{"arazzo": "1.0.0", "info": {}}', "application/json", ("an Arazzo description", "`sourceDescriptions`")),
        (b'<definitions xmlns="http://schemas.xmlsoap.org/wsdl/"/>', "text/xml", ("a WSDL 1.1", "no SOAP transport")),
        (b"type Query {\n  a: Int\n}\n", "application/json", ("a GraphQL schema", '"call_template_type": "graphql"')),
    ],
)
async def test_a_format_of_others_is_named_with_its_way(
    server: FaultyServer, kind: str, content: bytes, media_type: str, words: tuple[str, str]
) -> None:
    serve(server, answer(content, media_type))
    said = await problem(kind, server, "/m")
    assert [one for one in words if one not in said] == [], said
    assert SECRET not in said


@pytest.mark.parametrize("kind", ["config", "convert", *MANUALS])
async def test_a_page_that_shows_a_description_leads_to_it(server: FaultyServer, kind: str) -> None:
    page = b"<!doctype html><redoc spec-url='../v2/spec?key=1'></redoc><a href='/old/swagger.json'>old</a>"
    serve(server, answer(page, "text/html"))
    assert f"The page links to {server.url}/v2/spec: use that address." in await problem(kind, server, "/m")


@pytest.mark.parametrize("content", [b'{"tools": []}', b"[]"])
async def test_json_with_the_type_of_a_web_page_is_a_document(server: FaultyServer, content: bytes) -> None:
    serve(server, answer(content, "text/html"))
    assert (await fetched(f"{server.url}/m")).content == content


async def fetched(url: str) -> Document:
    async with open_services() as services:
        session = services.http.session(Source(name="m", allow_networks=LOOPBACK))
        return await fetch_manual(session, document_request(url), max_bytes=MAX_BYTES, entry="manual")


async def test_a_document_has_its_bytes_its_type_and_its_final_address(server: FaultyServer) -> None:
    serve(server, answer(b"tools: []", "application/yaml; charset=utf-8"))
    document = await fetched(f"{server.url}/moved?to=/m")
    assert document == Document(b"tools: []", url=f"{server.url}/m", media_type="application/yaml")
    assert server.requests[-1].header("accept") == "application/json, application/yaml, text/yaml, */*;q=0.5"
