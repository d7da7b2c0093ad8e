"""`utcp-bridge convert` as people and scripts use it."""

import json
import shutil
import sys
from pathlib import Path

import anyio.to_thread
import pytest
from tests.openapi_oracle.samples import OWN
from tests.upstreams import mcp_server
from tests.upstreams.http_service import HttpService

from utcp_bridge import openapi_to_utcp
from utcp_bridge.cli.command import run
from utcp_bridge.dialects.documents import parse_document

PETS = str(OWN / "oai-v3.0-pass-petstore-expanded.yaml")
STORE = str(OWN / "swagger-api-openapi.yaml")


def test_the_manual_is_on_stdout_and_everything_else_on_stderr(command):
    outcome = command("convert", STORE, "--extended")
    assert outcome.code == 0
    assert len(json.loads(outcome.out)["tools"]) == 19
    assert "swagger_api_openapi" not in outcome.out
    assert "Variables to set if the manual has the name" in outcome.err
    assert "swagger__api__openapi_API_KEY" in outcome.err


def test_the_file_name_decides_the_form_and_overwriting_needs_force(command, tmp_path):
    assert command("convert", PETS, "-o", "pets.yaml").code == 0
    text = (tmp_path / "pets.yaml").read_text()
    assert text.startswith("utcp_version:")
    again = command("convert", PETS, "-o", "pets.yaml")
    assert again.code == 2
    assert "--force" in again.err
    forced = command("convert", PETS, "-o", "pets.yaml", "--force", "--format", "json")
    assert (forced.code, forced.out) == (0, "")
    assert "4 tools in pets.yaml" in forced.err
    assert json.loads((tmp_path / "pets.yaml").read_text())["tools"]


def test_a_missing_folder_is_one_clear_line(command):
    outcome = command("convert", PETS, "-o", "no/such/pets.json")
    assert outcome.code == 2
    assert (
        outcome.err
        == "utcp-bridge: no/such/pets.json cannot be written: No such file or directory. Choose another file.\n"
    )


def test_options_reach_the_conversion(command):
    chosen = command(
        "convert", STORE, "--tag", "user", "--operation", "get*", "--base-url", "https://mine.example.com/"
    )
    [tool] = json.loads(chosen.out)["tools"]
    assert tool["name"] == "getUserByName"
    assert tool["tool_call_template"]["url"] == "https://mine.example.com/user/{username}"
    named = command("convert", PETS, "--name", "Mine", "--portable", "--to", "v1")
    assert "info" not in json.loads(named.out)
    old = command("convert", PETS, "--to", "v0", "--name", "Mine")
    assert json.loads(old.out)["provider_info"]["name"] == "Mine"


def test_server_variables_are_filled_in(command, tmp_path):
    server = {"url": "https://{region}.example.com"}
    document = {"openapi": "3.0.3", "servers": [server], "paths": {"/a": {"get": {"responses": {}}}}}
    (tmp_path / "api.json").write_text(json.dumps(document))
    outcome = command("convert", "api.json", "--server-variable", "region=eu")
    assert json.loads(outcome.out)["tools"][0]["tool_call_template"]["url"] == "https://eu.example.com/a"
    assert command("convert", "api.json", "--server-variable", "region").code == 1


def test_omitted_operations_are_reported_on_stderr(command, tmp_path):
    paths = {f"/{number}": {"$ref": "#/nowhere"} for number in range(30)}
    document = {"openapi": "3.0.3", "servers": [{"url": "https://x.example"}], "paths": paths}
    (tmp_path / "api.json").write_text(json.dumps(document))
    outcome = command("convert", "api.json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["tools"] == []
    assert "error: api, #/paths/" in outcome.err
    assert " more." in outcome.err
    assert outcome.err.count("\n") == 21


@pytest.mark.anyio
async def test_a_url_is_fetched_and_its_error_is_reported(command):
    async with HttpService() as service:
        good = await anyio.to_thread.run_sync(command, "convert", f"{service.base}/openapi.json")
        bad = await anyio.to_thread.run_sync(command, "convert", f"{service.base}/status/500")
    assert [tool["name"] for tool in json.loads(good.out)["tools"]] == ["echo", "get_item", "create_item"]
    assert bad.code == 5
    assert "500" in bad.err


def test_stdin_is_read_for_a_dash(command, monkeypatch):
    with Path(PETS).open("rb") as file:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": file})())
        outcome = command("convert", "-")
    assert len(json.loads(outcome.out)["tools"]) == 4


def test_the_tools_of_an_mcp_server_are_converted(command):
    line = f"{sys.executable} {mcp_server.__file__} clock"
    outcome = command("convert", "--mcp-command", line, "--name", "clock", "--format", "yaml")
    assert outcome.code == 0
    assert "who" in [tool["name"] for tool in parse_document(outcome.out)["tools"]]


def test_convert_without_a_source_is_a_wrong_command_line(command):
    outcome = command("convert")
    assert outcome.code == 1
    assert "--mcp-command" in outcome.err
    assert command("convert", "gone.json").code == 2


@pytest.mark.anyio
async def test_a_terminal_shows_progress_and_is_left_clean(terminal, tmp_path):
    shutil.copy(PETS, tmp_path / "pets.yaml")
    async with HttpService() as service:
        url = f"{service.base}/openapi.json"
        with terminal:
            code = await anyio.to_thread.run_sync(
                run, ["convert", "--extended", "pets.yaml", f"{url}?key=S3CRET", "-o", "all.json"]
            )
    assert code == 0
    before, *told, after = terminal.shown().split("\r\x1b[2K")
    assert (before, after) == ("", "7 tools in all.json\n")
    assert told == [
        "Reading pets.yaml (1 of 2) …",
        "Converting pets.yaml (1 of 2) …",
        f"Fetching {url} (2 of 2) …",
        f"Converting {url} (2 of 2) …",
    ]


def test_an_error_leaves_the_terminal_clean(terminal):
    with terminal:
        assert run(["convert", "--mcp-command", "no-such-program --token S3CRET", "--name", "clock"]) != 0
    _, told, after = terminal.shown().split("\r\x1b[2K")
    assert told == "Asking the MCP server clock …"
    assert "utcp-bridge:" in after
    assert "S3CRET" not in told + after


def test_without_a_terminal_no_progress_is_shown(command):
    outcome = command("convert", "--extended", PETS)
    assert (outcome.code, outcome.err) == (0, "")


def test_prove_prints_what_became_of_each_tool_and_writes_only_to_a_file(command, tmp_path):
    outcome = command("convert", STORE, "--prove", "-o", "store.json")
    assert outcome.code == 1  # one tool was left out
    [left] = [line for line in outcome.out.splitlines() if "left out " in line]
    assert left.split()[0] == "uploadFile"
    assert "application/octet-stream" in left
    assert "19 tools: 18 proven (1 with limits), 1 left out; 180 requests compared." in outcome.out
    assert len(json.loads((tmp_path / "store.json").read_text())["tools"]) == 18
    as_json = json.loads(command("convert", STORE, "--prove", "--json").out)
    assert (as_json["tools"], as_json["proven"], as_json["limited"], as_json["left_out"]) == (19, 18, 1, 1)
    assert as_json["rows"][0] == {"tool": "updatePet", "state": "proven", "why": [], "requests": 10}
    assert command("convert", PETS, "--prove", "--to", "v0").code == 0


def test_the_manual_has_official_keys_and_extended_has_all(command):
    for words in ([], ["--portable"]):
        manual = json.loads(command("convert", PETS, *words).out)
        assert manual.keys() == {"utcp_version", "manual_version", "tools"}
        assert all("request_plan" not in tool["tool_call_template"] for tool in manual["tools"])
    extended = json.loads(command("convert", PETS, "--extended").out)
    assert extended["info"]["title"] == "Swagger Petstore"
    assert all("request_plan" in tool["tool_call_template"] for tool in extended["tools"])


def test_a_v0_manual_becomes_one_of_version_1(command, tmp_path):
    tool = {"name": "t", "tool_provider": {"provider_type": "http", "url": "https://x.example"}}
    (tmp_path / "old.json").write_text(json.dumps({"version": "0.2.0", "tools": [tool]}))
    for words in ([], ["--extended"]):
        assert json.loads(command("convert", "old.json", *words).out)["utcp_version"] == "1.0.1"


@pytest.mark.parametrize("words", [["--extended", "--prove"], ["--extended", "--to", "v0"], ["--json"]])
def test_options_that_contradict_each_other_are_refused(command, words):
    assert command("convert", PETS, *words).code == 1


def test_a_configuration_has_nothing_to_prove(command, tmp_path):
    entry = {"name": "weather", "provider_type": "http", "url": "https://api.example.com/utcp"}
    (tmp_path / "providers.json").write_text(json.dumps([entry]))
    outcome = command("convert", "providers.json", "--prove")
    assert outcome.code == 2
    assert "no tools to prove" in outcome.err


CART = {
    "openapi": "3.1.0",
    "servers": [{"url": "https://api.example.com"}],
    "paths": {
        "/cart": {
            "post": {
                "operationId": "add",
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"type": "object", "properties": {"title": {"type": "string"}}}}
                    }
                },
            },
            "put": {
                "operationId": "upload",
                "requestBody": {
                    "content": {
                        "multipart/form-data": {
                            "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
                        }
                    }
                },
            },
        }
    },
}


def test_the_library_writes_what_the_command_writes_and_the_extended_form_on_request(tmp_path, command, caplog):
    path = str(tmp_path / "cart.json")
    Path(path).write_text(json.dumps(CART))
    written, extended = openapi_to_utcp(path), openapi_to_utcp(path, portable=False)
    assert written == json.loads(command("convert", path).out)
    assert extended == json.loads(command("convert", path, "--extended").out)
    [add] = written["tools"]
    assert add["inputs"]["properties"].keys() == {"body"}
    assert add["tool_call_template"]["body_field"] == "body"
    assert "request_plan" not in add["tool_call_template"]
    assert sorted(tool["name"] for tool in extended["tools"]) == ["add", "upload"]
    assert "the tool 'upload' is left out: " in caplog.text
