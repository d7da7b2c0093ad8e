import json

import pytest
from tests.test_docs import CONFIGS

from utcp_bridge.errors import ConfigError
from utcp_bridge.validate import check_document, check_place
from utcp_bridge.validate.documents import check_config
from utcp_bridge.validate.findings import Findings

pytestmark = pytest.mark.anyio

TEMPLATE = {"call_template_type": "http", "url": "https://${HOST}/x"}
TOOL = {"name": "t", "description": "d", "tool_call_template": TEMPLATE}


@pytest.mark.parametrize(
    ("document", "shape", "tools", "entries"),
    [
        ({"utcp_version": "1.0.1", "tools": [TOOL]}, "manual", 1, 0),
        ({"version": "1", "tools": [{"name": "t", "description": "d", "tool_provider": TEMPLATE}]}, "manual", 1, 0),
        ([TOOL], "tools", 1, 0),
        ({"name": "t", "description": "d", "inputSchema": {}}, "mcp tools", 1, 0),
        ({"manual_call_templates": [{**TEMPLATE, "name": "a"}]}, "config", 0, 1),
        ([{"name": "a", "provider_type": "http", "url": "https://x.example"}], "config entries", 0, 1),
        (TEMPLATE, "call template", 0, 1),
        (
            {"openapi": "3.0.3", "servers": [{"url": "https://x.example"}], "paths": {"/a": {"get": {}}}},
            "openapi",
            1,
            0,
        ),
        ({"manuals": ["https://x.example/a.json"]}, "registry", 0, 1),
    ],
)
async def test_every_shape_of_document_is_recognised(document, shape, tools, entries):
    report = await check_document(document, place="x", name="n", environ={})
    assert (report.shape, report.tools, report.entries) == (shape, tools, entries)
    assert report.errors == []


async def test_variable_keys_start_with_the_manuals_name_and_are_looked_up():
    report = await check_document({"tools": [TOOL]}, place="x", name="my_api", environ={"HOST": "h"})
    assert (report.variables, report.found) == ({"my__api_HOST": ["t"]}, {"my__api_HOST"})
    assert (await check_document({"tools": [TOOL]}, place="x", name="m", environ={})).found == set()


async def test_tools_inside_a_configuration_are_checked():
    entry = {"name": "n", "call_template_type": "text", "content": {"tools": [TOOL, {**TOOL, "name": 3}]}}
    report = await check_document({"manual_call_templates": [entry]}, place="x", name="c", environ={})
    assert [one.pointer for one in report.errors] == ["/manual_call_templates/0/content/tools/1/name"]
    assert report.variables == {"n_HOST": ["n.t"]}


async def test_listings_of_a_registry_are_checked_alone_and_together():
    bad = {"manuals": [{"url": "https://x.example"}, {"url": "ftp://x.example"}, 3]}
    report = await check_document(bad, place="x", name="r", environ={})
    assert [one.pointer for one in report.errors] == ["/manuals/1", "/manuals/2"]
    twice = {"manuals": [{"name": "a", "url": "https://x.example"}, {"name": "a", "url": "https://y.example"}]}
    report = await check_document(twice, place="x", name="r", environ={})
    assert [one.pointer for one in report.errors] == ["/manuals"]


@pytest.mark.parametrize("document", [3, "text", None, {"x": 1}, [1]])
async def test_a_document_of_unknown_shape_is_an_error(document):
    report = await check_document(document, place="x", name="n", environ={})
    assert report.shape == "unknown"
    assert report.as_json()["structure_valid"] is False
    assert "not a manual" in report.errors[0].what


@pytest.mark.parametrize(("suffix", "line"), [(".json", 4), (".yaml", 3)])
async def test_faults_in_files_have_line_numbers(tmp_path, suffix, line):
    document = {"tools": [{**TOOL, "name": ""}]}
    path = tmp_path / f"m{suffix}"
    text = json.dumps(document, indent=1) if suffix == ".json" else "# first\ntools:\n- {name: '', description: d}\n"
    path.write_text(text)
    report = await check_place(str(path), environ={})
    assert (report.name, report.errors[0].pointer, report.errors[0].line) == ("m", "/tools/0/name", line)


async def test_text_that_cannot_be_parsed_is_one_error_with_a_line(tmp_path):
    (tmp_path / "m.json").write_text('{\n"a": \n}')
    report = await check_place(str(tmp_path / "m.json"), environ={})
    assert (report.shape, report.errors[0].line) == ("unknown", 3)
    piped = await check_place("-", read_stdin=lambda: b"a: [", environ={})
    assert len(piped.errors) == 1


async def test_a_missing_file_and_a_url_raise_config_error(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.json: There is no such file"):
        await check_place(str(tmp_path / "gone.json"), environ={})
    with pytest.raises(ConfigError, match="is a URL"):
        await check_place("https://api.example.com/utcp", environ={})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
async def test_the_example_configurations_are_valid(path):
    assert (await check_place(str(path), environ={})).errors == []


HTTP = {"name": "shop", "call_template_type": "http", "url": "https://api.example.com/utcp"}


def check(document, folder=None, environ=None):
    findings, nested = Findings(), []
    checked = check_config(
        document,
        folder,
        findings,
        check_nested=lambda content, path, name: nested.append((content, path, name)),
        environ=environ or {},
    )
    return checked, [(one.severity, one.pointer, one.what) for one in findings.faults], nested


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({"manual_call_templates": [HTTP]}, ["shop"]),
        ({"manual_call_templates": HTTP}, ["shop"]),
        (
            {"providers": {"a": {"provider_type": "http", "url": "https://x.example"}, "b": "https://y.example/u"}},
            ["a", "b"],
        ),
        ([{"name": "a-b", "provider_type": "http", "url": "https://x.example"}, "./manual.json"], ["a_b", "manual"]),
        (HTTP, ["shop"]),
        ({"providers": "https://x.example/tools.json"}, ["x_example"]),
        ({"mcpServers": {"files": {"command": "x"}}}, ["files"]),
        ({"manual_call_templates": [], "registries": ["https://registry.example.com"]}, []),
        ({"manual_call_templates": [{**HTTP, "call_timeout": 3, "include": {"names": ["a*"]}}]}, ["shop"]),
    ],
)
def test_valid_configurations_of_every_shape_have_no_faults(document, names):
    checked, reported, _ = check(document)
    assert [entry["name"] for entry in checked.entries] == names
    assert reported == []


@pytest.mark.parametrize(("new", "reported"), [("new.one", []), ("new_two", ["warning"]), ("shop", ["warning"])])
def test_a_shadow_that_names_another_entry_is_valid(new, reported):
    shadowed = {**HTTP, "shadow": {"new": new, "promoted": ["get"]}}
    _, found, _ = check({"manual_call_templates": [shadowed, {**HTTP, "name": "new_one"}]})
    assert [severity for severity, _, _ in found] == reported
    assert all(pointer == "/manual_call_templates/0/shadow/new" for _, pointer, _ in found)


def test_names_that_look_alike_are_a_warning():
    _, reported, _ = check({"manual_call_templates": [{**HTTP, "name": "a_b"}, {**HTTP, "name": "a.b"}]})
    [(severity, pointer, message)] = reported
    assert (severity, pointer) == ("warning", "/manual_call_templates/1/name")
    assert "'a.b' looks like 'a_b'" in message


@pytest.mark.parametrize(
    ("document", "pointer", "words"),
    [
        ({"manual_call_templates": 3}, "/manual_call_templates", "must be a list, not a number"),
        ({"manual_call_templates": [HTTP, HTTP]}, "/manual_call_templates/1/name", "also named 'shop'"),
        ({"providers": {"a": {"url": "x"}}}, "/providers/a", "has no `call_template_type`"),
        ({"providers": [{**HTTP, "name": 3}]}, "/providers/0/name", "must be text, not a number"),
        ({"manual_call_templates": ["zz+x://y"]}, "/manual_call_templates/0", "scheme"),
        (
            {"manual_call_templates": [{**HTTP, "retries": 99}]},
            "/manual_call_templates/0/retries",
            "less than or equal",
        ),
        ({"mcpServers": []}, "/mcpServers", "must be an object"),
        ({"mcpServers": {"files": {"args": []}}}, "/mcpServers/files", "`command` or `url`"),
        ({"manual_call_templates": [], "bridge": 3}, "/bridge", "must be an object"),
        ({"manual_call_templates": [], "bridge": {"prot": 1}}, "/bridge/prot", "not a setting"),
        ({"manual_call_templates": [], "bridge": {"limits": {"q": 1}}}, "/bridge/limits/q", "not a setting"),
        ({"manual_call_templates": [], "bridge": {"limits": {"queue": "x"}}}, "/bridge/limits/queue", "valid integer"),
        ({"manual_call_templates": [], "bridge": {"queue": 1, "limits": {"queue": 2}}}, "/bridge", "two values"),
        ({"manual_call_templates": [], "bridge": {"port": "x"}}, "/bridge/port", "valid integer"),
        ({"manual_call_templates": [], "variables": []}, "/variables", "a list, not an object"),
        ({"manual_call_templates": [], "variables": {"a": []}}, "/variables", "must be text or a number"),
        ({"manual_call_templates": [], "load_variables_from": [3]}, "/load_variables_from", "variable_loader_type"),
        ({"manual_call_templates": [], "registries": ["https://a.example", 3]}, "/registries/1", "a number"),
    ],
)
def test_a_fault_in_a_configuration_is_reported_at_its_place(document, pointer, words):
    _, reported, _ = check(document)
    assert ("error", pointer) in [(severity, place) for severity, place, _ in reported]
    assert any(words in what for _, _, what in reported)


@pytest.mark.parametrize("kind", ["http", "sse", "http_stream"])
def test_the_address_of_a_manual_has_no_placeholder(kind):
    entry = {"name": "a", "provider_type": kind, "url": "https://a.example/{id}/x"}
    [(severity, pointer, what)] = check([entry])[1]
    assert (severity, pointer) == ("error", "/0/url")
    assert "must not contain a placeholder" in what
    assert check([{**entry, "url": "https://a.example/${ID}/x"}])[1] == []


def test_a_udp_provider_of_v0_without_a_number_of_replies_is_a_warning():
    entry = {"name": "a", "provider_type": "udp", "host": "a.example", "port": 9}
    [(severity, pointer, what)] = check([entry])[1]
    assert (severity, pointer) == ("warning", "/0")
    assert "one datagram in reply" in what
    assert check([{**entry, "number_of_response_datagrams": 0}])[1] == []
    assert check([{"name": "a", "call_template_type": "udp", "host": "a.example", "port": 9}])[1] == []


def test_an_unknown_key_in_a_configuration_is_a_warning():
    _, [(severity, pointer, what)], _ = check({"manual_call_templates": [], "variabels": {}})
    assert (severity, pointer) == ("warning", "/variabels")
    assert "variabels" in what


def test_a_missing_manual_file_is_reported(tmp_path):
    document = [
        {"name": "a", "call_template_type": "file", "file_path": "gone.json"},
        {"name": "b", "provider_type": "text", "file_path": "here.json"},
    ]
    (tmp_path / "here.json").write_text("{}")
    _, reported, _ = check(document, tmp_path)
    assert reported == [("error", "/0/file_path", "the file does not exist.")]


def test_embedded_manuals_are_passed_on_with_their_place():
    document = {"manual_call_templates": [{"name": "n", "call_template_type": "text", "content": {"tools": []}}]}
    assert check(document)[2] == [({"tools": []}, ("manual_call_templates", 0, "content"), "n")]


def test_variables_are_reported_by_key_with_whether_they_are_set(tmp_path):
    (tmp_path / ".env").write_text("my__api_FROM_FILE=1\n")
    (tmp_path / ".env").chmod(0o600)
    entry = {"name": "my_api", "call_template_type": "http", "url": "https://${HOST}/${GIVEN}/${FROM_FILE}/${MISSING}"}
    document = {
        "variables": {"my_api": {"GIVEN": "x"}},
        "load_variables_from": [{"variable_loader_type": "dotenv", "env_file_path": ".env"}],
        "manual_call_templates": [entry],
    }
    checked, reported, _ = check(document, tmp_path, {"HOST": "x.example"})
    assert reported == []
    assert checked.variables == {f"my__api_{name}": ["my_api"] for name in ("HOST", "GIVEN", "FROM_FILE", "MISSING")}
    assert checked.found == {"my__api_HOST", "my__api_GIVEN", "my__api_FROM_FILE"}


def test_a_variable_that_refers_to_a_missing_one_is_an_error():
    document = {"variables": {"K": "${GONE}"}, "manual_call_templates": [{**HTTP, "headers": {"X": "${K}"}}]}
    assert ("error", "/variables") in [(severity, pointer) for severity, pointer, _ in check(document)[1]]


async def test_the_servers_of_a_hosts_file_are_checked_at_their_places(tmp_path):
    path = tmp_path / ".codex" / "config.toml"
    path.parent.mkdir()
    path.write_text('[mcp_servers.a]\ncommand = "c"\nzork = 1\n[mcp_servers.b]\nenabled_tools = []\n', encoding="utf-8")
    report = await check_place(str(path), environ={})
    assert (report.shape, report.entries) == ("config", 1)
    assert [(one.severity, one.pointer, one.line) for one in report.findings] == [
        ("warning", "/mcp_servers/a", None),
        ("error", "/mcp_servers/b", None),
    ]
    other = tmp_path / "list.yaml"
    other.write_text("mcpServers:\n  - {name: a, command: c, env: {K: '${KEY}'}, zork: 1}\n", encoding="utf-8")
    report = await check_place(str(other), environ={"KEY": "k"})
    assert [(one.pointer, one.line) for one in report.findings] == [("/mcpServers/0", 2)]
    assert (report.variables, report.found) == ({"a_KEY": ["a"]}, {"a_KEY"})
