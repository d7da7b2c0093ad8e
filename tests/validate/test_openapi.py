import pytest
from tests.openapi_oracle.samples import OWN
from tests.upstreams.registry_service import Answers, served

from utcp_bridge.configuration.places import read_place
from utcp_bridge.validate.findings import Findings
from utcp_bridge.validate.openapi import check_openapi

pytestmark = pytest.mark.anyio


async def check(document, url=None):
    findings = Findings()
    tools = await check_openapi(document, url, findings)
    return tools, [(one.severity, one.pointer, one.what) for one in findings.faults]


async def test_a_good_description_is_left_in_peace():
    placed = await read_place(str(OWN / "oai-v3.0-pass-petstore-expanded.yaml"))
    tools, told = await check(placed.document, placed.url)
    assert len(tools) == 4
    assert told == []


async def test_what_the_conversion_leaves_out_stands_at_its_place():
    paths = {"/a/{b}": {"get": {"responses": {}}}, "/c": {"$ref": "#/nowhere"}}
    tools, told = await check({"openapi": "3.0.3", "servers": [{"url": "https://x.example"}], "paths": paths})
    assert len(tools) == 1
    assert ("error", "/paths/~1c", "the path could not be read.") in told


async def test_a_missing_server_is_a_warning_for_its_own_address_may_do():
    _, told = await check({"openapi": "3.0.3", "paths": {"/a": {"get": {"responses": {}}}}}, "/srv/api.yaml")
    assert [(severity, pointer) for severity, pointer, _ in told] == [("warning", "/servers")]


async def test_what_is_no_description_after_all_is_an_error():
    assert (await check({"openapi": "1.0", "paths": {}}))[1][0][0] == "error"


async def test_local_files_are_read_and_the_network_is_not_asked(tmp_path):
    placed = await read_place(str(OWN / "oai-petstore-separate" / "spec" / "swagger.json"))
    assert (await check(placed.document, placed.url))[1] == []
    canary = Answers({"/x.json": {}})
    with served(canary.app) as base:
        document = {"openapi": "3.0.3", "servers": [{"url": base}], "paths": {"/a": {"$ref": "x.json#/a"}}}
        _, told = await check(document, f"{base}/api.json")
    assert any("not asked here" in what for _, _, what in told)
    assert canary.seen == []


async def test_a_fault_in_another_file_is_no_fault_at_a_place_of_this_one(tmp_path):
    (tmp_path / "x.yaml").write_text("a: {get: {operationId: a, parameters: [{name: p}], responses: {}}}")
    document = {"openapi": "3.0.3", "servers": [{"url": "https://x.example"}], "paths": {"/a": {"$ref": "x.yaml#/a"}}}
    _, told = await check(document, str(tmp_path / "api.yaml"))
    what = "in a file that it refers to, at #/a/get/parameters/0: the parameter has no name or place."
    assert told == [("warning", "", what)]
