import json

import pytest
from tests.test_docs import CONFIGS

from utcp_bridge.errors import ConfigError
from utcp_bridge.validate import check_document, check_place

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
async def test_every_shape_is_known(document, shape, tools, entries):
    report = await check_document(document, place="x", name="n", environ={})
    assert (report.shape, report.tools, report.entries) == (shape, tools, entries)
    assert report.errors == []


async def test_variables_are_named_after_the_manual_and_looked_up():
    report = await check_document({"tools": [TOOL]}, place="x", name="my_api", environ={"HOST": "h"})
    assert (report.variables, report.found) == ({"my__api_HOST": ["t"]}, {"my__api_HOST"})
    assert (await check_document({"tools": [TOOL]}, place="x", name="m", environ={})).found == set()


async def test_tools_within_a_configuration_are_checked_too():
    entry = {"name": "n", "call_template_type": "text", "content": {"tools": [TOOL, {**TOOL, "name": 3}]}}
    report = await check_document({"manual_call_templates": [entry]}, place="x", name="c", environ={})
    assert [one.pointer for one in report.errors] == ["/manual_call_templates/0/content/tools/1/name"]
    assert report.variables == {"n_HOST": ["n.t"]}


async def test_listings_of_a_registry_are_checked_each_and_together():
    bad = {"manuals": [{"url": "https://x.example"}, {"url": "ftp://x.example"}, 3]}
    report = await check_document(bad, place="x", name="r", environ={})
    assert [one.pointer for one in report.errors] == ["/manuals/1", "/manuals/2"]
    twice = {"manuals": [{"name": "a", "url": "https://x.example"}, {"name": "a", "url": "https://y.example"}]}
    report = await check_document(twice, place="x", name="r", environ={})
    assert [one.pointer for one in report.errors] == ["/manuals"]


@pytest.mark.parametrize("document", [3, "text", None, {"x": 1}, [1]])
async def test_what_is_no_document_of_ours_is_said_so(document):
    report = await check_document(document, place="x", name="n", environ={})
    assert report.shape == "unknown"
    assert report.as_json()["structure_valid"] is False
    assert "neither a manual" in report.errors[0].what


@pytest.mark.parametrize(("suffix", "line"), [(".json", 4), (".yaml", 3)])
async def test_faults_in_files_have_lines(tmp_path, suffix, line):
    document = {"tools": [{**TOOL, "name": ""}]}
    path = tmp_path / f"m{suffix}"
    text = json.dumps(document, indent=1) if suffix == ".json" else "# first\ntools:\n- {name: '', description: d}\n"
    path.write_text(text)
    report = await check_place(str(path), environ={})
    assert (report.name, report.errors[0].pointer, report.errors[0].line) == ("m", "/tools/0/name", line)


async def test_a_text_that_cannot_be_parsed_is_one_error_with_its_line(tmp_path):
    (tmp_path / "m.json").write_text('{\n"a": \n}')
    report = await check_place(str(tmp_path / "m.json"), environ={})
    assert (report.shape, report.errors[0].line) == ("unknown", 3)
    piped = await check_place("-", read_stdin=lambda: b"a: [", environ={})
    assert len(piped.errors) == 1


async def test_a_missing_file_or_a_url_is_no_matter_of_validity(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.json: There is no such file"):
        await check_place(str(tmp_path / "gone.json"), environ={})
    with pytest.raises(ConfigError, match="on the network"):
        await check_place("https://api.example.com/utcp", environ={})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
async def test_the_example_configurations_hold(path):
    assert (await check_place(str(path), environ={})).errors == []
