"""Inputs of every shape, from every place, as one document."""

import json
import sys

import pytest
from tests.openapi_oracle.samples import OWN
from tests.upstreams import mcp_server
from tests.upstreams.http_service import HttpService

from utcp_bridge import UtcpClient, openapi_to_utcp
from utcp_bridge.convert import Wishes, convert
from utcp_bridge.convert.conversion import merge
from utcp_bridge.convert.outcome import Converted
from utcp_bridge.errors import ConfigError, ManualError, UtcpError
from utcp_bridge.model import Fault

pytestmark = pytest.mark.anyio

PETS = OWN / "oai-v3.0-pass-petstore-expanded.yaml"
V0 = {
    "version": "1.0",
    "tools": [{"name": "t", "tool_provider": {"provider_type": "http_stream", "url": "https://x.example"}}],
}
PROVIDERS = [{"name": "weather", "provider_type": "http", "url": "https://api.example.com/utcp"}]


def write(path, document):
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return str(path)


async def test_an_openapi_description_becomes_a_manual():
    converted = await convert([str(PETS)], Wishes(portable=False))
    assert converted.is_manual
    assert converted.document["info"]["title"] == "Swagger Petstore"
    assert [tool["name"] for tool in converted.tools] == ["findPets", "addPet", "find_pet_by_id", "deletePet"]


async def test_an_openapi_description_may_come_from_a_url_or_stdin():
    async with HttpService() as service:
        fetched = await convert([f"{service.base}/openapi.json"])
    piped = await convert(["-"], read_stdin=PETS.read_bytes)
    assert [tool["name"] for tool in fetched.tools] == ["echo", "get_item", "create_item"]
    assert len(piped.tools) == 4
    assert (fetched.name, piped.name) == ("127_0_0_1", "stdin")


async def test_a_v0_manual_becomes_a_v1_manual(tmp_path):
    converted = await convert([write(tmp_path / "old.json", V0)], Wishes(name="Old", portable=False))
    assert converted.document["tools"][0]["tool_call_template"]["call_template_type"] == "streamable_http"
    assert converted.document["info"] == {"title": "Old"}
    assert converted.name == "old"


async def test_a_list_of_providers_becomes_a_configuration(tmp_path):
    converted = await convert([write(tmp_path / "providers.json", PROVIDERS)])
    assert not converted.is_manual
    assert converted.document == {
        "manual_call_templates": [
            {"call_template_type": "http", "name": "weather", "url": "https://api.example.com/utcp"}
        ]
    }


async def test_an_unreadable_tool_is_kept_and_noted(tmp_path):
    manual = {"tools": [{"name": "a", "tool_call_template": {}}]}
    converted = await convert([write(tmp_path / "m.json", manual)], Wishes(portable=False))
    assert [tool["name"] for tool in converted.tools] == ["a"]
    assert "call_template_type" in str(converted.notes[0])


async def test_the_servers_of_an_mcp_hosts_file_become_a_manual(tmp_path):
    servers = {"clock": {"command": sys.executable, "args": [mcp_server.__file__, "clock"]}}
    converted = await convert([write(tmp_path / "mcp.json", {"mcpServers": servers})])
    assert converted.name == "mcp"
    assert converted.tools[0]["tool_call_template"]["config"] == {"mcpServers": servers}


async def test_what_a_hosts_file_switches_off_is_not_converted(tmp_path):
    entry = {"type": "local", "command": [sys.executable, mcp_server.__file__, "clock"], "timeout": 5000}
    servers = {"clock": entry, "off": {**entry, "enabled": False}, "odd": {"type": "local"}}
    document = {"tools": {"clock_who": False}, "mcp": servers}
    converted = await convert([write(tmp_path / "opencode.json", document)])
    names = {tool["name"] for tool in converted.tools}
    assert "echo" in names
    assert "who" not in names
    [template] = {str(tool["tool_call_template"]["config"]) for tool in converted.tools}
    assert "'off'" not in template
    assert "exclude" not in template
    assert [note.severity for note in converted.notes] == ["error"]
    assert "'odd'" in str(converted.notes[0])


async def test_a_hosts_file_with_entries_becomes_a_configuration(tmp_path):
    document = {"mcpServers": {"a": {"command": "c"}}, "manual_call_templates": ["./x.json"]}
    converted = await convert([write(tmp_path / "both.json", document)])
    assert not converted.is_manual
    entries = converted.document["manual_call_templates"]
    assert [entry["call_template_type"] for entry in entries] == ["file", "mcp"]


async def test_an_mcp_server_may_be_given_in_one_line():
    line = f"mcp+stdio:{sys.executable} {mcp_server.__file__} clock"
    converted = await convert([], Wishes(name="my clock", portable=False), mcp_servers=[line])
    [template] = [tool["tool_call_template"] for tool in converted.tools if tool["name"] == "who"]
    assert list(template["config"]["mcpServers"]) == ["my_clock"]
    assert template["tool_name"] == "who"
    with pytest.raises(ConfigError, match="quotation mark"):
        await convert([], mcp_servers=["mcp+stdio:'open"])


async def test_several_inputs_become_one_manual(tmp_path):
    converted = await convert([str(PETS), write(tmp_path / "old.json", V0)])
    assert [tool["name"] for tool in converted.tools] == ["findPets", "addPet", "find_pet_by_id", "deletePet", "t"]


async def test_v0_and_the_portable_form_can_be_written():
    old = await convert([str(PETS)], Wishes(target="v0"))
    assert "tool_provider" in old.document["tools"][0]
    plain = await convert([str(PETS)])
    assert plain.document.keys() == {"utcp_version", "manual_version", "tools"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([{"name": "a", "inputSchema": {}}], "--mcp-command"),
        ({"manuals": []}, "is a registry"),
        ({"x": 1}, "not an OpenAPI description, a UTCP document"),
        ("just words", "not an OpenAPI description, a UTCP document"),
        ({"openapi": "1.0", "paths": {}}, "not an OpenAPI description"),
    ],
)
async def test_an_input_of_an_unknown_kind_is_refused_with_a_reason(tmp_path, document, words):
    with pytest.raises(UtcpError, match=words):
        await convert([write(tmp_path / "x.yaml", document)])


async def test_openapi_to_utcp_works_inside_an_event_loop(tmp_path):
    manual = openapi_to_utcp(PETS)
    async with await UtcpClient.create(
        {"manual_call_templates": [{"call_template_type": "text", "content": manual}]}
    ) as client:
        assert len(client.tools()) == 4


def test_openapi_to_utcp_takes_a_path_a_url_or_a_document():
    assert [tool["name"] for tool in openapi_to_utcp(str(PETS))["tools"]] == [
        "findPets",
        "addPet",
        "find_pet_by_id",
        "deletePet",
    ]
    operations = {"/a": {"get": {"operationId": "a", "tags": ["x"]}, "post": {"operationId": "b"}}}
    server = {"url": "https://{r}.example.com"}
    document = {"openapi": "3.1.0", "servers": [server], "paths": operations}
    manual = openapi_to_utcp(document, server_variables={"r": "eu"}, exclude={"tags": ["x"]})
    assert [tool["tool_call_template"]["url"] for tool in manual["tools"]] == ["https://eu.example.com/a"]
    chosen = openapi_to_utcp(document, base_url="https://other.example.com", include={"tags": ["x"]})
    assert [tool["tool_call_template"]["url"] for tool in chosen["tools"]] == ["https://other.example.com/a"]


def test_openapi_to_utcp_raises_for_missing_files_and_other_documents(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        openapi_to_utcp(tmp_path / "gone.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ManualError, match="not an OpenAPI description"):
        openapi_to_utcp(tmp_path / "list.json")


def part(name, *tools, **keys):
    return Converted({"utcp_version": "1.0.1", "tools": list(tools), **keys}, name)


def tool(name, key=None, **template):
    auth = {"auth": {"auth_type": "api_key", "api_key": f"${{{key}}}", "aliases": ["API_KEY_0"]}} if key else {}
    return {
        "name": name,
        "tool_call_template": {"call_template_type": "http", "url": "https://x.example", **auth, **template},
    }


def test_merging_one_document_changes_nothing():
    only = part("a", tool("t"))
    assert merge([only], name="ignored") is only


def test_merging_joins_tools_and_titles():
    merged = merge([part("a", tool("t"), info={"title": "A"}), part("b", tool("u"), info={"title": "B"})], name=None)
    assert [one["name"] for one in merged.tools] == ["t", "u"]
    assert merged.document["info"] == {"title": "A, B"}
    assert merge([part("a"), part("b")], name="Both").document["info"] == {"title": "Both"}


def test_a_duplicate_tool_name_gets_a_prefix_and_a_note():
    merged = merge([part("a", tool("t")), part("my-b", tool("t"), tool("my_b_t"))], name=None)
    assert [one["name"] for one in merged.tools] == ["t", "my_b_t", "my_b_my_b_t"]
    assert "'my_b_t'" in merged.notes[0].what


def test_variables_of_the_same_name_are_renamed_when_merging():
    plan = {"parameters": [{"argument": "q", "name": "${API_KEY}", "in": "query"}]}
    first = part("shop", tool("a", "API_KEY", request_plan=plan), tool("b", "OTHER"))
    second = part("bank", tool("c", headers={"X": "key $API_KEY $$API_KEY"}))
    a, b, c = [one["tool_call_template"] for one in merge([first, second], name=None).tools]
    assert a["auth"] == {"auth_type": "api_key", "api_key": "${SHOP_API_KEY}"}
    assert a["request_plan"] == plan
    assert b["auth"]["api_key"] == "${OTHER}"
    assert c["headers"] == {"X": "key ${BANK_API_KEY} $$API_KEY"}
    reported = [note.what for note in merge([first, second], name=None).notes]
    assert any("API_KEY is now SHOP_API_KEY" in what for what in reported)


def test_renaming_variables_drops_aliases_in_nested_auth():
    inner = {"auth_type": "api_key", "api_key": "${K}", "aliases": ["K_0"]}
    both = {"auth": {"auth_type": "any", "options": [inner]}}
    merged = merge([part("a", tool("t", **both)), part("b", tool("u", "K"))], name=None)
    assert merged.tools[0]["tool_call_template"]["auth"]["options"] == [{"auth_type": "api_key", "api_key": "${A_K}"}]


def test_merging_copies_the_auth_of_a_manual_into_its_tools():
    auth = {"auth_type": "api_key", "api_key": "${K}", "var_name": "X-Api-Key"}
    own = tool("own", headers={"X-Api-Key": "mine"})
    merged = merge([part("a", tool("t"), own, auth=auth), part("b", tool("u"))], name=None)
    t, own, u = [one["tool_call_template"] for one in merged.tools]
    assert t["auth"] == auth
    assert "auth" not in own
    assert "auth" not in u


def config(name, **keys):
    return Converted(keys, name, is_manual=False, notes=[Fault(name, "noted")])


def test_merging_configurations_reports_overwritten_keys():
    one = config("a", manual_call_templates=[{"name": "x"}], variables={"A": "1", "B": "1"}, other=1)
    two = config("b", manual_call_templates=[{"name": "y"}], variables={"B": "2"}, other=2)
    merged = merge([one, two], name=None)
    assert merged.document == {
        "manual_call_templates": [{"name": "x"}, {"name": "y"}],
        "variables": {"A": "1", "B": "2"},
        "other": 2,
    }
    assert [note.what for note in merged.notes] == [
        "noted",
        "noted",
        "`variables.B` exists twice; the later value is kept.",
    ]


def test_a_configuration_and_a_manual_cannot_be_merged():
    with pytest.raises(ConfigError, match="cannot be merged into one"):
        merge([part("a"), config("b")], name=None)
