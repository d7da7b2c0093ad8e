"""An OpenAPI description and the manual that is made of it are the same tools, down to the bytes of each request.

MCP servers as manuals, with real servers over stdio and HTTP.
"""

import json
import sys
from pathlib import Path

import pytest
from tests.openapi_oracle.samples import OWN, SHARED, sample_files
from tests.support.examples import example_arguments
from tests.upstreams import mcp_server
from tests.upstreams.http_service import HttpService

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.configuration.places import read_place
from utcp_bridge.convert.outcome import Wishes
from utcp_bridge.convert.sources import mcp_manual, openapi_manual, without_files
from utcp_bridge.dialects import read_manual
from utcp_bridge.dialects.documents import parse_document, write_document
from utcp_bridge.dialects.openapi import ConversionOptions, convert
from utcp_bridge.errors import ConfigError, ManualError, Rejected, UtcpError
from utcp_bridge.manuals.variables_needed import variables_of_tools

pytestmark = pytest.mark.anyio

BASE = Wishes(base_url="https://api.example.com")
CALLED = [
    "oai-v2.0-json-uber.json",
    "oai-v3.0-pass-petstore-expanded.yaml",
    "readmeio-3.0-yaml-file-uploads.yaml",
    "readmeio-3.0-yaml-security-multiple.yaml",
    "readmeio-3.1-yaml-parameters-style.yaml",
    "swagger-api-openapi.yaml",
]


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("path", sample_files(OWN), ids=lambda path: path.name)
async def test_a_converted_manual_reads_back_as_the_same_tools(path, form):
    placed = await read_place(str(path))
    converted = await openapi_manual(placed.document, url=placed.url, name="api", wishes=BASE)

    text = write_document(converted.document, form)
    read = read_manual(parse_document(text, hint=form), default_template={}, where="m")

    assert read.faults == []
    assert [tool.as_json() for tool in read.tools] == converted.tools
    assert (len(read.tools) > 0) == ("paths" in placed.document)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of OpenAPI samples is not beside this repository")
async def test_every_available_sample_reads_back_as_the_same_tools():
    different = []
    for sample in [path for path in sample_files(SHARED) if path.suffix != ".gz" and path.stat().st_size < 400_000]:
        placed = await read_place(str(sample))
        converted = await openapi_manual(placed.document, url=placed.url, name="api", wishes=BASE)
        read = read_manual(parse_document(write_document(converted.document)), default_template={}, where="m")
        if [tool.as_json() for tool in read.tools] != converted.tools or read.faults:
            different.append(sample.name)
    assert different == []


async def requests_of(client: UtcpClient, service: HttpService) -> dict[str, object]:
    """What each tool sent when called with made-up arguments, or why nothing was sent."""
    sent: dict[str, object] = {}
    for tool in client.tools():
        service.requests.clear()
        try:
            await client.call(tool, example_arguments(tool.inputs))
        except Rejected:
            pass
        except UtcpError as error:
            sent[tool.name] = str(error)
            continue
        last = service.last
        headers = {name: value.partition("; boundary=")[0] for name, value in last.headers.items()}
        sent[tool.name] = (last.method, last.target, headers, without_boundary(last.body))
    return sent


def without_boundary(body: bytes) -> bytes:
    """A multipart body's boundary is a random one."""
    return body.replace(body.split(b"\r\n", 1)[0].removeprefix(b"--"), b"") if body.startswith(b"--") else body


@pytest.mark.parametrize("name", CALLED)
async def test_description_and_manual_send_the_same_requests(name, tmp_path):
    async with HttpService() as service:
        placed = await read_place(str(OWN / name))
        wishes = Wishes(base_url=f"{service.base}/api")
        converted = await openapi_manual(placed.document, url=placed.url, name="api", wishes=wishes)
        (tmp_path / "api.json").write_text(write_document(converted.document), encoding="utf-8")
        needed = [key for key in variables_of_tools(converted.tools, "api") if "_CLIENT_" not in key]
        keys = {key: f"value-{number}" for number, key in enumerate(needed)}  # no client: no token is fetched
        direct = {
            "name": "api",
            "call_template_type": "file",
            "file_path": str(OWN / name),
            "base_url": wishes.base_url,
        }
        manual = {"name": "api", "call_template_type": "file", "file_path": "api.json"}

        async with (
            await UtcpClient.create({"variables": keys, "manual_call_templates": [direct]}, root=tmp_path) as one,
            await UtcpClient.create({"variables": keys, "manual_call_templates": [manual]}, root=tmp_path) as other,
        ):
            assert [tool.inputs for tool in other.tools()] == [tool.inputs for tool in one.tools()]
            expected, found = await requests_of(one, service), await requests_of(other, service)
    arrived = [what for what in expected.values() if isinstance(what, tuple)]
    assert len(arrived) >= len(expected) / 2 > 0
    assert found == expected


async def test_referenced_files_are_part_of_the_manual():
    path = OWN / "oai-petstore-separate" / "spec" / "swagger.json"
    placed = await read_place(str(path))
    converted = await openapi_manual(placed.document, url=placed.url, name="pets", wishes=Wishes())
    assert len(converted.tools) == 4
    assert ".json" not in json.dumps([tool["inputs"] for tool in converted.tools])
    assert converted.notes == []


async def test_a_missing_referenced_file_is_only_a_note(tmp_path: Path):
    operation = {"operationId": "a", "parameters": [{"$ref": "gone.yaml#/p"}], "responses": {}}
    document = {"openapi": "3.0.3", "servers": [{"url": "https://x.example"}], "paths": {"/a": {"get": operation}}}
    converted = await openapi_manual(document, url=str(tmp_path / "api.yaml"), name="api", wishes=Wishes())
    assert [tool["name"] for tool in converted.tools] == ["a"]
    assert "gone.yaml" in str(converted.notes[0])
    assert "no such file" in str(converted.notes[0])


async def test_referenced_files_at_the_documents_own_url_are_fetched():
    async with HttpService() as service:
        document = {"openapi": "3.0.3", "paths": {"/a": {"$ref": "openapi.json#/paths/~1echo"}}}
        url = f"{service.base}/other.json"
        converted = await openapi_manual(document, url=url, name="api", wishes=Wishes())
    assert [tool["tool_call_template"]["url"] for tool in converted.tools] == [f"{service.base}/a"]
    assert converted.tools[0]["name"] == "echo"


def test_a_description_without_a_server_is_refused_with_a_remedy():
    document = {"openapi": "3.0.3", "paths": {"/a": {"get": {"responses": {}}}}}
    with pytest.raises(ConfigError, match="--base-url"):
        without_files(document, url="/srv/api.json", name="api", wishes=Wishes())
    converted = without_files(document, url="/srv/api.json", name="api", wishes=BASE)
    assert converted.tools[0]["tool_call_template"]["url"] == "https://api.example.com/a"


def test_omitted_operations_are_noted_at_their_place():
    paths = {"/a": {"get": {"operationId": "a", "responses": {}}}, "/b": {"$ref": "#/nowhere"}}
    document = {"openapi": "3.0.3", "servers": [{"url": "https://x.example"}], "paths": paths}
    converted = without_files(document, url=None, name="api", wishes=Wishes())
    assert [tool["name"] for tool in converted.tools] == ["a"]
    assert any("/b" in note.where or "~1b" in note.where for note in converted.notes)


def test_options_are_passed_to_the_conversion():
    document = {
        "openapi": "3.0.3",
        "info": {"title": "Shop", "version": "2.1", "description": "Sells."},
        "servers": [{"url": "https://{region}.example.com", "variables": {"region": {"default": "eu"}}}],
        "paths": {
            "/a": {"get": {"operationId": "a", "tags": ["x"], "responses": {}}},
            "/b": {"get": {"operationId": "b", "responses": {}}},
        },
    }
    wishes = Wishes(name="Mine", server_variables={"region": "us"}, include={"tags": ["x"]})
    converted = without_files(document, url=None, name="api", wishes=wishes)
    assert converted.document["info"] == {"title": "Mine", "version": "2.1", "description": "Sells."}
    assert converted.document["manual_version"] == "2.1"
    assert [tool["tool_call_template"]["url"] for tool in converted.tools] == ["https://us.example.com/a"]
    options = ConversionOptions(server_variables={"region": "us"})
    assert converted.tools == [tool.as_json() for tool in convert(document, url=None, options=options).tools[:1]]


def test_other_documents_than_openapi_are_refused():
    with pytest.raises(ManualError):
        without_files({"tools": []}, url=None, name="api", wishes=Wishes())


pytestmark = pytest.mark.anyio


def server(name, *manner, **fields):
    return {"command": sys.executable, "args": [mcp_server.__file__, name, *manner], **fields}


def allowed(name, path):
    """Return an entry that lets the manual start its servers."""
    word = {"allowed_communication_protocols": ["mcp"]}
    return {"name": name, "call_template_type": "file", "file_path": str(path), **word}


async def test_tools_of_an_mcp_server_can_be_called_from_the_manual_alone(tmp_path):
    converted = await mcp_manual({"alpha": server("alpha")}, name="alpha", wishes=Wishes(), root=tmp_path)
    assert converted.notes == []
    assert converted.document["info"] == {"title": "alpha"}
    (tmp_path / "m.json").write_text(write_document(converted.document), encoding="utf-8")

    async with await UtcpClient.create([allowed("m", tmp_path / "m.json")]) as client:
        assert [tool.name for tool in client.tools()] == sorted(tool["name"] for tool in converted.tools)
        echo = client.find("m.echo")
        assert echo is not None
        assert echo.inputs["x-kept"] is True
        assert echo.annotations["readOnlyHint"] is True
        assert await client.call_tool("m.echo", {"text": "hi"}) == {"text": "hi"}


async def test_tools_of_two_mcp_servers_get_different_names(tmp_path):
    servers = {"alpha": server("alpha"), "beta": server("beta")}
    converted = await mcp_manual(servers, name="both", wishes=Wishes(), root=tmp_path)
    names = [tool["name"] for tool in converted.tools]
    assert {"alpha.who", "beta.who"} <= set(names)
    (tmp_path / "both.yaml").write_text(write_document(converted.document, "yaml"), encoding="utf-8")

    async with await UtcpClient.create([allowed("both", tmp_path / "both.yaml")]) as client:
        said = [await client.call_tool(f"both.{name}.who") for name in servers]
    assert said == ["alpha", "beta"]


async def test_possible_secrets_of_mcp_servers_become_variables(tmp_path, monkeypatch):
    servers = {
        "alpha": server("alpha", env={"TOKEN": "s3cret", "MODE": "${MODE}"}),
        "beta": server("beta", env={"TOKEN": "s3cret-2"}),
    }
    monkeypatch.setenv("MODE", "quiet")
    converted = await mcp_manual(servers, name="m", wishes=Wishes(), root=tmp_path)
    text = write_document(converted.document)
    assert "s3cret" not in text
    assert "${ALPHA_TOKEN}" in text
    assert "${BETA_TOKEN}" in text
    assert "${MODE}" in text
    assert [note.severity for note in converted.notes] == ["warning"]
    assert "TOKEN" in converted.notes[0].what

    kept = await mcp_manual(servers, name="m", wishes=Wishes(keep_values=True), root=tmp_path)
    assert "s3cret-2" in write_document(kept.document)
    assert kept.notes == []


async def test_a_header_keeps_its_scheme_before_the_variable(tmp_path):
    async with mcp_server.http_server("far") as url:
        entry = {"url": url, "headers": {"Authorization": "Bearer abc", "X-Key": "k"}}
        converted = await mcp_manual({"far": entry}, name="far", wishes=Wishes(), root=tmp_path)
    [written] = converted.tools[0]["tool_call_template"]["config"]["mcpServers"].values()
    assert written["headers"] == {"Authorization": "Bearer ${AUTHORIZATION}", "X-Key": "${X_KEY}"}


async def test_a_failed_mcp_server_is_a_note_unless_it_is_the_only_one(tmp_path):
    missing = {"command": "no-such-program"}
    converted = await mcp_manual({"a": server("a"), "b": missing}, name="m", wishes=Wishes(), root=tmp_path)
    assert [note.severity for note in converted.notes] == ["error"]
    assert "no-such-program" in str(converted.notes[0]) or "'b'" in str(converted.notes[0])
    assert all(tool["name"].startswith("a.") for tool in converted.tools)
    with pytest.raises(UtcpError, match="'b'"):
        await mcp_manual({"b": missing}, name="m", wishes=Wishes(), root=tmp_path)


@pytest.mark.parametrize("servers", [{}, [], "x", None])
async def test_mcp_servers_of_another_shape_are_refused(servers):
    with pytest.raises(ConfigError, match="does not contain an MCP server"):
        await mcp_manual(servers, name="m", wishes=Wishes(), root=Path())


async def test_a_server_without_command_or_url_is_refused():
    with pytest.raises(ConfigError, match="either `command` or `url`"):
        await mcp_manual({"a": {"args": []}}, name="m", wishes=Wishes(), root=Path())
