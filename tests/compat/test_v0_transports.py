"""The transports of 0.x: what programs of that time expect of each, against real peers."""

import json
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.upstreams.socket_service import UdpService
from tests.upstreams.stream_service import StreamService

from utcp_bridge.compat.v0 import NAMES
from utcp_bridge.errors import PolicyError, UtcpError

pytestmark = pytest.mark.anyio

ApiKey, Basic, OAuth2 = (NAMES[name] for name in ("ApiKeyAuth", "BasicAuth", "OAuth2Auth"))
Http, Cli, Text, Udp, Tcp = (NAMES[f"{name}Provider"] for name in ("Http", "Cli", "Text", "UDP", "TCP"))
Sse, Stream = NAMES["SSEProvider"], NAMES["StreamableHttpProvider"]
PAIRS = {
    "HttpClientTransport": Http(name="p", url="https://example.com"),
    "CliTransport": Cli(name="p", command_name="true"),
    "TextTransport": Text(name="p", file_path="x.json"),
    "UDPTransport": Udp(name="p", host="127.0.0.1", port=1),
    "TCPTransport": Tcp(name="p", host="127.0.0.1", port=1),
    "SSEClientTransport": Sse(name="p", url="https://example.com"),
    "StreamableHttpClientTransport": Stream(name="p", url="https://example.com"),
}


class Guarded(StreamService):
    """Adds `/guarded`, which tells what credentials came, and two token endpoints: for a body and for Basic."""

    def _routes(self) -> dict[str, Any]:
        return {**super()._routes(), "/guarded": self._guarded, "/token": self._token, "/token-basic": self._basic}

    async def _guarded(self, request: web.Request) -> web.Response:
        told = {name: request.headers.get(name) for name in ("X-Api-Key", "Authorization")}
        if "events" in request.query:
            return web.Response(text=f"data: {json.dumps(told)}\n\n", content_type="text/event-stream")
        return web.json_response(told)

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        known = (form.get("client_id"), form.get("client_secret")) == ("me", "secret-1")
        return web.json_response({"access_token": "by-body"} if known else {}, status=200 if known else 401)

    async def _basic(self, request: web.Request) -> web.Response:
        wanted = f"Basic {b64encode(b'me:secret-1').decode()}"
        known = request.headers.get("Authorization") == wanted
        return web.json_response({"access_token": "by-header"} if known else {}, status=200 if known else 401)


@pytest.fixture
async def service() -> AsyncIterator[Guarded]:
    async with Guarded() as service:
        yield service


@pytest.fixture
def script(tmp_path: Path) -> str:
    """Return a command that prints a manual, or what it was given."""
    tool = {"description": "Says it.", "inputs": {"properties": {"text": {"type": "string"}}}, "tags": ["words"]}
    manual = {"version": "1.0.0", "tools": [{"name": name, **tool} for name in ("say", "add")]}
    path = tmp_path / "program.py"
    path.write_text(
        "import json, os, sys\n"
        f"words, manual = sys.argv[1:], {json.dumps(manual)!r}\n"
        "given = {name: os.environ[name] for name in ('OWN', 'OTHER') if name in os.environ}\n"
        "if not words:\n    print(manual)\n"
        "elif '--fail' in words:\n    sys.exit('it failed')\n"
        "elif '--plain' in words:\n    print('  only words  ')\n"
        "else:\n    print(json.dumps({'words': words, 'folder': os.getcwd(), 'given': given}))\n",
        encoding="utf-8",
    )
    return f"{sys.executable} {path}"


@pytest.mark.parametrize("name", PAIRS)
async def test_a_transport_takes_its_own_provider_only(name: str) -> None:
    transport = NAMES[name]()
    other = next(provider for key, provider in PAIRS.items() if key != name)
    own = type(PAIRS[name]).__name__
    for use in (transport.register_tool_provider(other), transport.call_tool("t", {}, other)):
        with pytest.raises(ValueError, match="can only be used with"):
            await use
    assert own in NAMES.values() or PAIRS[name].provider_type == transport.kind
    await transport.deregister_tool_provider(PAIRS[name])
    await transport.close()


@pytest.mark.parametrize(
    ("name", "provider"),
    [("HttpClientTransport", Http), ("SSEClientTransport", Sse), ("StreamableHttpClientTransport", Stream)],
)
async def test_tools_of_the_web_are_found_and_a_provider_that_fails_has_none(
    name: str, provider: Any, service: Guarded
) -> None:
    transport = NAMES[name]()
    found = await transport.register_tool_provider(provider(name="p", url=f"{service.base}/utcp/v0"))
    assert found
    assert all(tool.name and tool.inputs is not None and tool.outputs is not None for tool in found)
    assert await transport.register_tool_provider(provider(name="p", url=f"{service.base}/status/500")) == []


@pytest.mark.parametrize(
    ("name", "provider"),
    [("HttpClientTransport", Http), ("SSEClientTransport", Sse), ("StreamableHttpClientTransport", Stream)],
)
@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        (lambda base: ApiKey(var_name="X-API-Key", api_key="key-1"), "X-Api-Key", "key-1"),
        (
            lambda base: Basic(username="user", password="pass"),
            "Authorization",
            f"Basic {b64encode(b'user:pass').decode()}",
        ),
        (
            lambda base: OAuth2(client_id="me", client_secret="secret-1", token_url=f"{base}/token", scope="a b"),
            "Authorization",
            "Bearer by-body",
        ),
        (
            lambda base: OAuth2(client_id="me", client_secret="secret-1", token_url=f"{base}/token-basic"),
            "Authorization",
            "Bearer by-header",
        ),
    ],
    ids=["api-key", "basic", "oauth2-body", "oauth2-header"],
)
async def test_credentials_are_sent_in_each_form(
    name: str, provider: Any, auth: Any, header: str, value: str, service: Guarded
) -> None:
    given = provider(name="p", url=f"{service.base}/guarded", auth=auth(service.base))
    arguments = {"events": "1"} if provider is Sse else {}
    result = await NAMES[name]().call_tool("t", arguments, given)
    told = result[0] if isinstance(result, list) else result
    assert told[header] == value


async def test_arguments_of_http_go_into_path_header_body_and_query(service: Guarded) -> None:
    provider = Http(
        name="p",
        url=f"{service.base}/echo/{{kind}}/{{value}}.json",
        http_method="POST",
        body_field="data",
        header_fields=["X-Own"],
    )
    arguments = {"kind": "isbn", "value": "97801", "data": {"k": "v"}, "X-Own": "mine", "format": "json", "page": 2}
    await NAMES["HttpClientTransport"]().call_tool("t", arguments, provider)
    assert service.last.target == "/echo/isbn/97801.json?format=json&page=2"
    assert (json.loads(service.last.body), service.last.headers["X-Own"]) == ({"k": "v"}, "mine")
    with pytest.raises(ValueError, match="'value'"):
        await NAMES["HttpClientTransport"]().call_tool("t", {"kind": "isbn", "data": {}}, provider)


async def test_a_call_that_fails_is_an_error(service: Guarded) -> None:
    for url in (f"{service.base}/status/404", f"{service.refusing}/x"):
        with pytest.raises(UtcpError):
            await NAMES["HttpClientTransport"]().call_tool("t", {}, Http(name="p", url=url))
        with pytest.raises(UtcpError):
            await NAMES["SSEClientTransport"]().call_tool("t", {}, Sse(name="p", url=url))


async def test_streams_are_lists_of_their_items(service: Guarded) -> None:
    events = Sse(name="p", url=f"{service.base}/sse/count")
    assert await NAMES["SSEClientTransport"]().call_tool("t", {"count": 3}, events) == [{"n": 0}, {"n": 1}, {"n": 2}]
    lines = Stream(name="p", url=f"{service.base}/stream/ndjson")
    found = await NAMES["StreamableHttpClientTransport"]().call_tool("t", {"count": 2}, lines)
    assert found == [{"n": 0}, {"n": 1}]
    raw = Stream(name="p", url=f"{service.base}/stream/octets", chunk_size=6)
    assert isinstance(await NAMES["StreamableHttpClientTransport"]().call_tool("t", {}, raw), bytes)
    body = Sse(
        name="p", url=f"{service.base}/sse/echo", body_field="data", headers={"Content-Type": "application/json"}
    )
    [event] = await NAMES["SSEClientTransport"]().call_tool("t", {"data": {"k": "v"}}, body)
    assert (event["method"], json.loads(event["body"])) == ("POST", {"k": "v"})


async def test_tools_of_a_command_are_found_in_its_output(script: str) -> None:
    transport = NAMES["CliTransport"]()
    found = await transport.register_tool_provider(Cli(name="p", command_name=script))
    assert sorted((tool.name, tool.description, tool.tags) for tool in found) == [
        ("add", "Says it.", ["words"]),
        ("say", "Says it.", ["words"]),
    ]
    for use in (transport.register_tool_provider, lambda one: transport.call_tool("t", {}, one)):
        with pytest.raises(ValueError, match="command_name"):
            await use(Cli(name="p", command_name=""))


async def test_arguments_of_a_command_are_flags(script: str) -> None:
    arguments = {"text": "a b", "n": 42, "f": 3.5, "yes": True, "no": False, "items": ["x", "y"]}
    result = await NAMES["CliTransport"]().call_tool("say", arguments, Cli(name="p", command_name=script))
    assert result["words"] == ["--text", "a b", "--n", "42", "--f", "3.5", "--yes", "--items", "x", "--items", "y"]


async def test_a_command_gets_its_variables_and_folder_and_no_others(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER", "of the program")
    folder = tmp_path / "work"
    folder.mkdir()
    provider = Cli(name="p", command_name=script, env_vars={"OWN": "mine"}, working_dir=str(folder))
    result = await NAMES["CliTransport"]().call_tool("say", {"text": "x"}, provider)
    assert (result["given"], Path(result["folder"])) == ({"OWN": "mine"}, folder.resolve())
    plain = await NAMES["CliTransport"]().call_tool("say", {"text": "x"}, Cli(name="p", command_name=script))
    assert plain["given"] == {}


async def test_output_that_is_not_json_is_text_and_a_failure_is_an_error_with_its_words(script: str) -> None:
    provider = Cli(name="p", command_name=script)
    assert str(await NAMES["CliTransport"]().call_tool("say", {"plain": True}, provider)).strip() == "only words"
    with pytest.raises(UtcpError, match="it failed") as caught:
        await NAMES["CliTransport"]().call_tool("say", {"fail": True}, provider)
    assert not isinstance(caught.value, PolicyError)


@pytest.mark.parametrize(
    ("form", "names"),
    [("manual", ["one", "two"]), ("tool", ["one"]), ("list", ["one", "two"]), ("other", [])],
)
async def test_a_text_file_has_a_manual_a_tool_or_a_list_of_tools(form: str, names: list[str], tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    provider = {"provider_type": "text", "name": "p", "file_path": str(path)}
    tools = [{"name": name, "description": "d", "tags": ["t"], "tool_provider": provider} for name in ("one", "two")]
    documents = {"manual": {"version": "1.0.0", "tools": tools}, "tool": tools[0], "list": tools, "other": {"x": 1}}
    path.write_text(json.dumps(documents[form]))
    transport, given = NAMES["TextTransport"](), Text(name="p", file_path=str(path))
    found = await transport.register_tool_provider(given)
    assert sorted((tool.name, tool.tags) for tool in found) == [(name, ["t"]) for name in names]
    assert json.loads(await transport.call_tool("one", {"a": 1}, given)) == documents[form]


async def test_a_text_file_that_is_missing_or_broken_is_an_error(tmp_path: Path) -> None:
    transport, missing = NAMES["TextTransport"](), Text(name="p", file_path=str(tmp_path / "none.json"))
    with pytest.raises(FileNotFoundError):
        await transport.register_tool_provider(missing)
    with pytest.raises(FileNotFoundError):
        await transport.call_tool("t", {}, missing)
    (tmp_path / "bad.json").write_text("{ not json }: [")
    with pytest.raises(ValueError, match=r"bad\.json"):
        await transport.register_tool_provider(Text(name="p", file_path=str(tmp_path / "bad.json")))


async def test_datagrams_are_json_or_text_and_replies_text_or_bytes() -> None:
    transport = NAMES["UDPTransport"]()
    async with UdpService() as peer:
        where = {"name": "p", "host": "127.0.0.1", "port": peer.port}
        assert [tool.name for tool in await transport.register_tool_provider(Udp(**where))] == ["echo"]
        json_form = Udp(**where, request_data_format="json", response_byte_format="utf-8")
        await transport.call_tool("t", {"a": "b", "n": 42}, json_form)
        assert peer.received[-1] == b'{"a": "b", "n": 42}'
        text = Udp(
            **where, request_data_format="text", request_data_template="DO UTCP_ARG_a_UTCP_ARG UTCP_ARG_n_UTCP_ARG"
        )
        await transport.call_tool("t", {"a": "get", "n": "x1"}, text)
        assert peer.received[-1] == b"DO get x1"
        await transport.call_tool("t", {"a": "one", "b": "two"}, Udp(**where, request_data_format="text"))
        assert peer.received[-1] == b"one two"
        raw = Udp(**where, response_byte_format=None)
        assert isinstance(await transport.call_tool("t", {"a": "b"}, raw), bytes)
