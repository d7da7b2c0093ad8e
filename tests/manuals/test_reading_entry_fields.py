"""What an entry adds to the tools of its document, with real services: `auth`, `headers`, `header_fields`."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.upstreams.http_service import HttpService
from tests.upstreams.registry_service import Answers, served

from utcp_bridge import UtcpClient
from utcp_bridge.dialects import RawTool
from utcp_bridge.errors import InvalidArguments
from utcp_bridge.manuals.reading import with_entry_headers
from utcp_bridge.model import JsonObject, Source, Trust

pytestmark = pytest.mark.anyio

KEY = "entry-key-12345"
AUTH: JsonObject = {"auth_type": "api_key", "api_key": "${API_KEY}", "var_name": "X-Api-Key", "location": "header"}


def v1(*urls: str, **fields: Any) -> JsonObject:
    templates = [{"call_template_type": "http", "url": url, **fields} for url in urls]
    return {
        "utcp_version": "1.0.1",
        "tools": [{"name": f"t{at}", "tool_call_template": one} for at, one in enumerate(templates)],
    }


def v0(*urls: str, **fields: Any) -> JsonObject:
    providers = [{"provider_type": "http", "url": url, "http_method": "GET", **fields} for url in urls]
    return {"version": "0.1.1", "tools": [{"name": f"t{at}", "tool_provider": one} for at, one in enumerate(providers)]}


@pytest.mark.parametrize("write", [v0, v1])
async def test_the_auth_of_an_entry_is_for_tools_of_its_own_origin(write: Callable[..., JsonObject]) -> None:
    service, other = Answers({"/data": "one"}), Answers({"/data": "two"})
    with served(service.app) as base, served(other.app) as elsewhere:
        service.answers["/utcp"] = write(f"{base}/data", f"{elsewhere}/data")
        entry = {"name": "m", "call_template_type": "http", "url": f"{base}/utcp", "auth": AUTH}
        config = {
            "manual_call_templates": [{**entry, "allowed_origins": [elsewhere]}],
            "variables": {"API_KEY": KEY},
        }
        async with await UtcpClient.create(config) as client:
            assert await client.call_tool("m.t0") == "one"
            assert await client.call_tool("m.t1") == "two"
    assert [headers.get("x-api-key") for headers in service.headers] == [KEY, KEY]
    assert [headers.get("x-api-key") for headers in other.headers] == [None]


LISTS = {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}


@pytest.mark.parametrize(
    ("validation", "property_", "fields", "arguments", "sent"),
    [
        ("off", {"tags": LISTS}, {"body_field": "tags"}, {"tags": ["a"]}, ["a"]),
        ("warn", {"data": {"type": "string"}}, {}, {"body": {"x": 1}}, {"x": 1}),
        ("off", {"data": {"type": "string"}}, {}, {"body": {"x": 1}}, {"x": 1}),
    ],
)
async def test_a_manual_with_wrong_schemas_can_be_used_if_its_entry_says_so(
    validation: str, property_: JsonObject, fields: JsonObject, arguments: JsonObject, sent: Any
) -> None:
    """Manuals that the decorator of the reference library writes have such schemas."""
    async with HttpService() as service:
        template = {"call_template_type": "http", "url": f"{service.base}/echo", "http_method": "POST", **fields}
        inputs = {"type": "object", "properties": property_, "required": list(property_)}
        document = {"utcp_version": "1.0.1", "tools": [{"name": "t", "inputs": inputs, "tool_call_template": template}]}
        entry = {"name": "m", "call_template_type": "text", "content": document}
        if "body" in arguments:
            async with await UtcpClient.create([entry]) as client:
                with pytest.raises(InvalidArguments):
                    await client.call_tool("m.t", arguments)
        async with await UtcpClient.create([{**entry, "validation": validation}]) as client:
            await client.call_tool("m.t", arguments)
    assert json.loads(service.requests[-1].body) == sent


@pytest.mark.parametrize(
    "own", [{"auth": {**AUTH, "api_key": "own-12345678"}}, {"headers": {"x-api-key": "own-12345678"}}]
)
async def test_credentials_of_a_tool_itself_stay(own: JsonObject) -> None:
    service = Answers({"/data": "one"})
    with served(service.app) as base:
        service.answers["/utcp"] = v1(f"{base}/data", **own)
        entry = {"name": "m", "call_template_type": "http", "url": f"{base}/utcp", "auth": AUTH}
        config = {"manual_call_templates": [entry], "variables": {"API_KEY": KEY}}
        async with await UtcpClient.create(config) as client:
            await client.call_tool("m.t0")
    assert service.headers[-1]["x-api-key"] == "own-12345678"


def description(server: str, **operation: Any) -> JsonObject:
    version = {"name": "Api-Version", "in": "header", "required": True, "schema": {"type": "string"}}
    one = {"operationId": "x", "responses": {"200": {"description": "ok"}}, "parameters": [version], **operation}
    return {
        "openapi": "3.0.3",
        "info": {"title": "t", "version": "1"},
        "servers": [{"url": server}],
        "paths": {"/data": {"get": one}},
    }


HEADERS = {"Api-Version": "2025-09-03", "X-Key": "${API_KEY}", "Accept": "application/yaml"}


async def test_headers_of_an_entry_reach_the_tools_of_a_description_at_its_origin() -> None:
    service = Answers({"/data": "one"})
    with served(service.app) as base:
        service.answers["/openapi.json"] = description(base)
        entry = {
            "name": "m",
            "call_template_type": "http",
            "url": f"{base}/openapi.json",
            "headers": HEADERS,
            "header_fields": ["X-Tenant"],
        }
        config = {"manual_call_templates": [entry], "variables": {"API_KEY": KEY}}
        async with await UtcpClient.create(config) as client:
            inputs = client.find_tool("m.x").inputs
            assert inputs["properties"].keys() == {"X-Tenant"}
            assert not inputs.get("required")
            assert await client.call_tool("m.x", {"X-Tenant": "t1"}) == "one"
            with pytest.raises(InvalidArguments):
                await client.call_tool("m.x", {"X-Key": "other"})
    seen = service.headers[-1]
    assert (seen["api-version"], seen["x-key"], seen["x-tenant"]) == ("2025-09-03", KEY, "t1")
    assert "yaml" not in seen["accept"]


def test_headers_of_an_entry_go_to_no_other_origin_unless_it_is_allowed() -> None:
    entry: JsonObject = {"headers": {"X-Literal": KEY}}
    source = Source("m", trust=Trust.REMOTE, origin="https://docs.example.com")
    urls = ["https://docs.example.com/x", "https://other.example.com/x", "https://{host}/x", "${HOST}/x"]
    raw = [RawTool(f"t{at}", {"url": url, "request_plan": {}}) for at, url in enumerate(urls)]
    tools, [fault] = with_entry_headers(raw, entry, source)
    assert ["headers" in tool.template for tool in tools] == [True, False, False, False]
    assert '"allowed_origins": ["https://other.example.com"' in fault.remedy
    allowed = replace(source, allowed_origins=frozenset({"https://other.example.com"}))
    tools, [fault] = with_entry_headers(raw, entry, allowed)
    assert ["headers" in tool.template for tool in tools] == [True, True, False, False]
    assert with_entry_headers(raw, {}, source) == (raw, [])


@pytest.mark.parametrize(
    ("headers", "options", "sent"),
    [
        ({"X-Fixed": "1"}, {}, "1"),
        ({"X-Fixed": "${API_KEY}"}, {}, None),
        ({"X-Fixed": "${API_KEY}"}, {"base_url": "BASE"}, KEY),
        ({"X-Fixed": "${API_KEY}"}, {"allowed_origins": ["BASE"]}, KEY),
    ],
)
async def test_variables_in_headers_of_a_file_go_to_no_near_address_that_the_file_names(
    headers: JsonObject, options: JsonObject, sent: str | None, tmp_path: Path
) -> None:
    service = Answers({"/data": "one"})
    with served(service.app) as base:
        (tmp_path / "d.json").write_text(json.dumps(description(base)))
        entry = {"name": "m", "call_template_type": "file", "file_path": "d.json", "headers": headers}
        allowed = json.loads(json.dumps(options).replace("BASE", base))
        config = {"manual_call_templates": [{**entry, **allowed}], "variables": {"API_KEY": KEY}}
        async with await UtcpClient.create(config, root=tmp_path) as client:
            await client.call_tool("m.x", {"Api-Version": "1"})
    assert service.headers[-1].get("x-fixed") == sent


@pytest.mark.parametrize("security", [None, [], [{}]])
async def test_auth_tools_that_no_operation_asks_for_is_reported_and_headers_replace_it(
    security: Any, tmp_path: Path
) -> None:
    service = Answers({"/data": "one"})
    with served(service.app) as base:
        document = description(base) if security is None else description(base, security=security)
        document["components"] = {"securitySchemes": {"b": {"type": "http", "scheme": "bearer"}}}
        (tmp_path / "d.json").write_text(json.dumps(document))
        entry = {"name": "m", "call_template_type": "file", "file_path": "d.json", "base_url": base}
        for more, faults, sent in (({"auth_tools": AUTH}, 1, None), ({"headers": {"X-Api-Key": "${API_KEY}"}}, 0, KEY)):
            config = {"manual_call_templates": [{**entry, **more}], "variables": {"API_KEY": KEY}}
            async with await UtcpClient.create(config, root=tmp_path) as client:
                found = [fault for fault in client.report()[0].faults if "`auth_tools` is not sent" in fault.what]
                assert len(found) == faults
                await client.call_tool("m.x", {"Api-Version": "1"})
            assert service.headers[-1].get("x-api-key") == sent


@pytest.mark.parametrize(
    ("options", "sent"), [({}, None), ({"base_url": "BASE"}, KEY), ({"allowed_origins": ["BASE"]}, KEY)]
)
@pytest.mark.parametrize("security", [None, [{"k": []}]])
async def test_auth_tools_goes_to_a_near_address_of_a_file_only_if_the_entry_names_it(
    security: Any, options: JsonObject, sent: str | None, tmp_path: Path
) -> None:
    service = Answers({"/data": "one"})
    with served(service.app) as base:
        document = description(base)
        if security is not None:
            document["security"] = security
            document["components"] = {
                "securitySchemes": {"k": {"type": "apiKey", "in": "header", "name": AUTH["var_name"]}}
            }
        (tmp_path / "d.json").write_text(json.dumps(document))
        entry = {"name": "m", "call_template_type": "file", "file_path": "d.json", "auth_tools": AUTH}
        allowed = json.loads(json.dumps(options).replace("BASE", base))
        config = {"manual_call_templates": [{**entry, **allowed}], "variables": {"API_KEY": KEY}}
        async with await UtcpClient.create(config, root=tmp_path) as client:
            faults = [fault.remedy for fault in client.report()[0].faults]
            if sent is None:
                assert f'"allowed_origins": ["{base}"]' in " ".join(faults)
            else:
                await client.call_tool("m.x", {"Api-Version": "1"})
    assert [headers.get("x-api-key") for headers in service.headers] == ([sent] if sent else [])
