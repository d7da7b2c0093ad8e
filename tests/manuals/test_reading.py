import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.tools import tool_object
from tests.upstreams.http_service import HttpService

from utcp_bridge.errors import ManualError, ReplyTooLarge, UtcpError
from utcp_bridge.manuals.reading import LoadedManual, ManualReader, read_local_reference, referenced_files
from utcp_bridge.model import Document, JsonObject, Source, Trust
from utcp_bridge.settings import BridgeSettings, ManualOptions
from utcp_bridge.testing.services import LOOPBACK, open_services
from utcp_bridge.transports.registry import TransportRegistry

pytestmark = pytest.mark.anyio

ENTRY = {"name": "peer", "call_template_type": "http", "url": "https://api.example.com/utcp"}
SOURCE = Source(name="peer", trust=Trust.REMOTE, origin="https://api.example.com", allow_networks=LOOPBACK)
TOOL = {"name": "one", "tool_call_template": {"call_template_type": "http", "url": "https://api.example.com/one"}}
MANUAL = {"utcp_version": "1.0.1", "tools": [TOOL]}
SHARED = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}


async def read(
    content: Any,
    *,
    url: str | None = "https://api.example.com/utcp",
    media_type: str | None = None,
    source: Source = SOURCE,
    settings: BridgeSettings | None = None,
    **options: Any,
) -> LoadedManual:
    async with open_services(settings=settings) as services:
        reader = ManualReader(services, TransportRegistry())
        document = Document(content, url=url, media_type=media_type, generated=bool(options.pop("generated", False)))
        wanted = ManualOptions.model_validate(options)
        return await reader.read(document, entry=ENTRY, source=source, options=wanted)


def openapi(schema: JsonObject) -> JsonObject:
    body = {"content": {"application/json": {"schema": schema}}, "required": True}
    operation = {"operationId": "add", "requestBody": body, "responses": {"200": {"description": "ok"}}}
    return {
        "openapi": "3.0.3",
        "info": {"title": "Shop", "version": "1"},
        "servers": [{"url": "https://api.example.com"}],
        "paths": {"/items": {"post": operation}},
    }


@pytest.mark.parametrize(
    "content",
    [
        MANUAL,
        json.dumps(MANUAL),
        json.dumps(MANUAL).encode(),
        b"utcp_version: 1.0.1\ntools:\n- name: one\n  tool_call_template: {call_template_type: http, url: 'https://a/'}\n",
        [TOOL],
    ],
)
async def test_a_manual_is_read_from_an_object_text_bytes_yaml_or_a_list(content: Any) -> None:
    reading = await read(content)
    assert [tool.name for tool in reading.tools] == ["one"]


async def test_a_large_manual_is_read_in_full() -> None:
    tools = [{**TOOL, "name": f"tool_{number}", "description": "x" * 100} for number in range(2000)]
    assert len((await read(json.dumps({"version": "1", "tools": tools}).encode())).tools) == 2000


async def test_a_manual_above_the_limit_is_refused_and_the_setting_named() -> None:
    with pytest.raises(ReplyTooLarge, match="max_manual_bytes"):
        await read(b"[" + b" " * 200 + b"]", settings=BridgeSettings(max_manual_bytes=100))


@pytest.mark.parametrize(
    ("content", "words"),
    [({"hello": 1}, "object of an unknown kind"), ("text", "not a JSON object"), ({"providers": []}, "config")],
)
async def test_a_document_that_is_not_a_manual_is_refused_with_what_it_is(content: Any, words: str) -> None:
    with pytest.raises(ManualError, match=words):
        await read(content)


async def test_comments_are_accepted_in_local_files_only() -> None:
    text = '// tools\n{"version": "1", "tools": []}'
    assert (await read(text, url="/x/tools.json", source=Source(name="peer"))).tools == []
    assert (await read(text.encode(), url="/x/tools", source=Source(name="peer"))).tools == []
    with pytest.raises(UtcpError):
        await read(text, url="https://api.example.com/tools.json")


@pytest.mark.parametrize("place", [{"url": "/x/tools.yaml"}, {"url": "/x/tools", "media_type": "application/yaml"}])
async def test_a_local_yaml_file_may_begin_with_a_brace(place: dict[str, str]) -> None:
    text = '{utcp_version: "1.0.1", tools: []}  # none yet'
    assert (await read(text, source=Source(name="peer"), **place)).tools == []


async def test_the_manuals_own_auth_is_a_default_for_tools_without_any() -> None:
    auth = {"auth_type": "api_key", "api_key": "${KEY}", "var_name": "X-Key"}
    own = {**TOOL, "name": "own"}
    own["tool_call_template"] = {
        **own["tool_call_template"],
        "auth": {"auth_type": "basic", "username": "u", "password": "p"},
    }
    reading = await read({**MANUAL, "auth": auth, "tools": [TOOL, own]})
    assert [tool.template["auth"]["auth_type"] for tool in reading.tools] == ["api_key", "basic"]


async def test_the_operators_choice_is_applied() -> None:
    reading = await read({**MANUAL, "tools": [TOOL, {**TOOL, "name": "two"}]}, exclude={"names": ["one"]})
    assert [tool.name for tool in reading.tools] == ["two"]


async def test_a_pattern_that_matches_no_tool_is_a_warning_that_names_the_manual() -> None:
    for content in (MANUAL, openapi(SHARED)):
        reading = await read(content, include={"names": ["one", "add", "ohne"]}, exclude={"tags": ["x"]})
        unused = [str(fault) for fault in reading.faults if "ohne" in fault.what]
        assert unused[0].startswith("manual 'peer', `include`: no tool has a name that matches 'ohne'.")
        assert {fault.severity for fault in reading.faults} == {"warning"}
        of_a_registry = await read(content, include={"names": ["one", "add", "ohne"]}, registry="")
        assert of_a_registry.faults == []


async def test_hints_that_follow_from_a_call_template_choose_tools() -> None:
    post = {**TOOL, "name": "post", "tool_call_template": {**TOOL["tool_call_template"], "http_method": "POST"}}
    reading = await read({**MANUAL, "tools": [TOOL, post]}, include={"read_only": True})
    assert [tool.name for tool in reading.tools] == ["one"]
    made = [{"name": "made", "annotations": {"readOnlyHint": False}}, {"name": "read"}]
    generated = await read({"tools": made}, generated=True, exclude={"read_only": True})
    assert [tool.name for tool in generated.tools] == ["made"]


async def test_generated_tools_are_reached_through_the_manuals_own_template() -> None:
    tool = {key: value for key, value in tool_object("made").items() if key != "tool_call_template"}
    content = {"tools": [{**tool, "overlay": {"query": "{ x }"}}], "info": {"title": "T", "description": "D"}}
    reading = await read(content, generated=True)
    assert reading.tools[0].template == {"call_template_type": "http", "url": ENTRY["url"]}
    assert reading.tools[0].overlay == {"query": "{ x }"}
    assert (reading.title, reading.description, reading.dialect) == ("T", "D", "generated")


async def test_an_openapi_description_is_converted() -> None:
    reading = await read(openapi(SHARED))
    assert [tool.name for tool in reading.tools] == ["add"]
    assert (reading.dialect, reading.title) == ("openapi", "Shop")


async def test_references_to_files_in_the_same_folder_are_followed(tmp_path: Path) -> None:
    (tmp_path / "schemas.json").write_text(json.dumps({"Item": SHARED}), encoding="utf-8")
    description = tmp_path / "openapi.json"
    content = json.dumps(openapi({"$ref": "schemas.json#/Item"}))
    reading = await read(content, url=str(description), source=Source(name="peer"))
    assert reading.tools[0].inputs["properties"]["id"]["type"] == "integer"


@pytest.mark.parametrize(
    "reference", ["missing.json#/Item", "../outside.json#/Item", "https://api.example.com/x.json#/I"]
)
async def test_a_document_is_read_even_if_a_reference_cannot_or_must_not_be_followed(
    tmp_path: Path, reference: str
) -> None:
    (tmp_path / "outside.json").write_text(json.dumps({"Item": SHARED}), encoding="utf-8")
    folder = tmp_path / "inside"
    folder.mkdir()
    content = json.dumps(openapi({"$ref": reference}))
    reading = await read(content, url=str(folder / "openapi.json"), source=Source(name="peer"))
    assert [tool.name for tool in reading.tools] == ["add"]
    assert "integer" not in json.dumps(reading.tools[0].inputs)
    assert reading.faults


async def test_references_within_the_origin_are_fetched_and_others_are_not() -> None:
    async with HttpService() as service, HttpService() as other:
        source = Source(name="peer", trust=Trust.REMOTE, origin=service.base, allow_networks=LOOPBACK)
        url = f"{service.base}/openapi.json"
        near = await read(openapi({"$ref": "/created#/"}), url=url, source=source)
        far = await read(openapi({"$ref": f"{other.base}/created#/"}), url=url, source=source)
        assert [request.target for request in service.requests] == ["/created"]
        assert other.requests == []
        assert len(near.tools) == len(far.tools) == 1


async def test_references_of_a_document_without_a_place_are_not_followed() -> None:
    reading = await read(openapi({"$ref": "schemas.json#/Item"}), url=None, source=Source(name="peer"))
    assert len(reading.tools) == 1


def referring(*places: str) -> dict[str, object]:
    return {"openapi": "3.0.3", "paths": {f"/{number}": {"$ref": place} for number, place in enumerate(places)}}


async def gathered(
    document: dict[str, object], url: str | None, files: dict[str, str]
) -> tuple[dict[str, object], list[str]]:
    asked: list[str] = []

    async def fetch(place: str, most: int) -> bytes:
        asked.append(place)
        if place not in files:
            raise ManualError("There is no such file.")
        return files[place].encode()

    found, faults = await referenced_files(document, url, fetch, where="m")
    assert len(asked) == len(set(asked))
    return found, [str(fault) for fault in faults]


async def test_references_are_followed_from_file_to_file() -> None:
    files = {
        "https://a.example/x.yaml": "p: {$ref: 'y.json#/q'}",
        "https://a.example/y.json": '{"q": {"$ref": "x.yaml"}}',
    }
    found, faults = await gathered(referring("x.yaml#/p"), "https://a.example/api.yaml", files)
    assert found.keys() == files.keys()
    assert faults == []


async def test_references_to_another_origin_or_folder_are_not_followed(tmp_path: Path) -> None:
    away = [
        "https://b.example/x.yaml",
        "http://a.example/x.yaml",
        "https://a.example:8443/x.yaml",
        "file:///etc/passwd",
    ]
    join = "Join the files into one, for example with `redocly bundle`."
    said = f"it has another origin than the document, so it is not read. The same applies to 3 more files. {join}"
    found = await gathered(referring(*away), "https://a.example/api.yaml", {})
    assert found == (dict.fromkeys(away), [f"m, reference https://b.example/x.yaml: {said}"])
    folder = tmp_path / "spec"
    folder.mkdir()
    local = ["../outside.yaml", "/etc/hostname", "https://a.example/x.yaml"]
    said = f"it is outside of the folder of the document, so it is not read. The same applies to 2 more files. {join}"
    found = await gathered(referring(*local), str(folder / "api.yaml"), {})
    unread = [str(tmp_path / "outside.yaml"), *local[1:]]
    assert found == (dict.fromkeys(unread), [f"m, reference {tmp_path / 'outside.yaml'}: {said}"])
    assert await gathered(referring("x.yaml"), None, {}) == ({}, [])


async def test_a_missing_file_is_a_warning_that_names_it() -> None:
    found, faults = await gathered(referring("gone.yaml"), "https://a.example/api.yaml", {})
    assert found == {"https://a.example/gone.yaml": None}
    assert faults == ["m, reference https://a.example/gone.yaml: There is no such file."]


async def test_a_local_reference_must_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert await read_local_reference(str(tmp_path / "a"), 1) == b"x"
    with pytest.raises(ManualError, match="no such file"):
        await read_local_reference(str(tmp_path), 1)


def files_of(tmp_path: Path, count: int, size: int) -> JsonObject:
    """Write files of this size and return a description that refers to each."""
    operations: JsonObject = {}
    for number in range(count):
        text = json.dumps({"S": {"type": "integer", "description": "x" * size}})
        (tmp_path / f"s{number}.json").write_text(text, encoding="utf-8")
        parameter = {"name": "a", "in": "query", "schema": {"$ref": f"s{number}.json#/S"}}
        responses = {"200": {"description": "ok"}}
        operations[f"/{number}"] = {
            "get": {"operationId": f"o{number}", "parameters": [parameter], "responses": responses}
        }
    return {**openapi({}), "paths": operations}


async def test_the_files_of_a_manual_are_within_its_limit_of_bytes_together(tmp_path: Path) -> None:
    document = files_of(tmp_path, 6, 30_000)
    reading = await read(
        json.dumps(document),
        url=str(tmp_path / "openapi.json"),
        source=Source(name="peer"),
        settings=BridgeSettings(max_manual_bytes=100_000),
    )
    known = ["integer" in json.dumps(tool.inputs) for tool in reading.tools]
    assert known == [True, True, True, False, False, False]
    (fault,) = [str(fault) for fault in reading.faults if "max_manual_bytes" in str(fault)]
    assert "s3.json" in fault


async def test_a_document_at_a_url_may_refer_to_a_hundred_files() -> None:
    files = {f"https://a.example/{number}.json": "{}" for number in range(102)}
    found, faults = await gathered(referring(*files), "https://a.example/api.json", files)
    assert len(found) == 100
    assert ["https://a.example/100.json" in fault for fault in faults] == [True]


async def test_a_document_on_this_machine_may_refer_to_two_thousand_files() -> None:
    files = {f"/specs/{number}.json": "{}" for number in range(2_002)}
    found, faults = await gathered(referring(*files), "/specs/api.json", files)
    assert len(found) == 2_000
    assert ["/specs/2000.json" in fault for fault in faults] == [True]


async def test_a_file_above_the_rest_of_the_limit_is_not_read_in_full(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert len(await read_local_reference(str(tmp_path / "a"), 100)) == 100
    with pytest.raises(ReplyTooLarge):
        await read_local_reference(str(tmp_path / "a"), 99)


async def test_a_manual_of_too_many_values_is_refused_with_the_setting() -> None:
    content = b'{"tools": [' + b"[]," * 200_000 + b"0]}"
    with pytest.raises(ManualError, match=r"more than 125,000 values.*max_manual_bytes"):
        await read(content, settings=BridgeSettings(max_manual_bytes=1_000_000))


async def test_a_large_description_is_read_with_its_files(tmp_path: Path) -> None:
    document = {**files_of(tmp_path, 3, 10), "info": {"title": "Shop", "version": "1", "description": "d" * 300_000}}
    reading = await read(json.dumps(document), url=str(tmp_path / "openapi.json"), source=Source(name="peer"))
    assert ["integer" in json.dumps(tool.inputs) for tool in reading.tools] == [True] * 3
    assert reading.title == "Shop"
