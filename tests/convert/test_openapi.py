"""An OpenAPI description and the manual that is made of it are the same tools, down to the bytes of each request."""

import json
from pathlib import Path

import pytest
from tests.openapi_oracle.samples import OWN, SHARED, sample_files
from tests.support.examples import example_arguments
from tests.upstreams.http_service import HttpService

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.configuration.places import read_place
from utcp_bridge.convert.openapi import openapi_manual, without_files
from utcp_bridge.convert.outcome import Wishes
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
async def test_the_written_manual_reads_back_as_the_tools_of_the_description(path, form):
    placed = await read_place(str(path))
    converted = await openapi_manual(placed.document, url=placed.url, name="api", wishes=BASE)

    text = write_document(converted.document, form)
    read = read_manual(parse_document(text, hint=form), default_template={}, where="m")

    assert read.faults == []
    assert [tool.as_json() for tool in read.tools] == converted.tools
    assert (len(read.tools) > 0) == ("paths" in placed.document)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of OpenAPI samples is not beside this repository")
async def test_every_sample_at_hand_reads_back_as_the_same_tools():
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


async def test_files_that_a_description_refers_to_are_in_the_manual():
    path = OWN / "oai-petstore-separate" / "spec" / "swagger.json"
    placed = await read_place(str(path))
    converted = await openapi_manual(placed.document, url=placed.url, name="pets", wishes=Wishes())
    assert len(converted.tools) == 4
    assert ".json" not in json.dumps([tool["inputs"] for tool in converted.tools])
    assert converted.notes == []


async def test_a_file_that_is_missing_costs_a_note_and_not_the_manual(tmp_path: Path):
    operation = {"operationId": "a", "parameters": [{"$ref": "gone.yaml#/p"}], "responses": {}}
    document = {"openapi": "3.0.3", "servers": [{"url": "https://x.example"}], "paths": {"/a": {"get": operation}}}
    converted = await openapi_manual(document, url=str(tmp_path / "api.yaml"), name="api", wishes=Wishes())
    assert [tool["name"] for tool in converted.tools] == ["a"]
    assert "gone.yaml" in str(converted.notes[0])
    assert "no such file" in str(converted.notes[0])


async def test_files_at_the_documents_own_url_are_fetched():
    async with HttpService() as service:
        document = {"openapi": "3.0.3", "paths": {"/a": {"$ref": "openapi.json#/paths/~1echo"}}}
        url = f"{service.base}/other.json"
        converted = await openapi_manual(document, url=url, name="api", wishes=Wishes())
    assert [tool["tool_call_template"]["url"] for tool in converted.tools] == [f"{service.base}/a"]
    assert converted.tools[0]["name"] == "echo"


def test_a_description_without_a_host_is_refused_with_the_option_to_give():
    document = {"openapi": "3.0.3", "paths": {"/a": {"get": {"responses": {}}}}}
    with pytest.raises(ConfigError, match="--base-url"):
        without_files(document, url="/srv/api.json", name="api", wishes=Wishes())
    converted = without_files(document, url="/srv/api.json", name="api", wishes=BASE)
    assert converted.tools[0]["tool_call_template"]["url"] == "https://api.example.com/a"


def test_operations_that_are_left_out_are_noted_at_their_place():
    paths = {"/a": {"get": {"operationId": "a", "responses": {}}}, "/b": {"$ref": "#/nowhere"}}
    document = {"openapi": "3.0.3", "servers": [{"url": "https://x.example"}], "paths": paths}
    converted = without_files(document, url=None, name="api", wishes=Wishes())
    assert [tool["name"] for tool in converted.tools] == ["a"]
    assert any("/b" in note.where or "~1b" in note.where for note in converted.notes)


def test_wishes_reach_the_conversion():
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


def test_what_is_no_description_is_refused():
    with pytest.raises(ManualError):
        without_files({"tools": []}, url=None, name="api", wishes=Wishes())
