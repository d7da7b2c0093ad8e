"""`utcp-bridge lock`, `diff` and `approve`, against a manual that a server publishes."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.support.source import TESTS


class Published:
    """A manual on loopback. `tools` has the description and the path of each tool; None: the server fails."""

    def __init__(self):
        self.tools: dict[str, tuple[str, str]] | None = {"get": ("Gets.", "/get"), "put": ("Puts.", "/put")}
        self.hints = {}
        self.base = ""

    def document(self):
        tools = [
            {
                "name": name,
                "description": description,
                "annotations": self.hints,
                "tool_call_template": {"call_template_type": "http", "url": f"{self.base}{path}"},
            }
            for name, (description, path) in (self.tools or {}).items()
        ]
        return {"utcp_version": "1.0.1", "tools": tools}


@pytest.fixture
def published():
    manual = Published()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(manual.document()).encode()
            self.send_response(200 if manual.tools is not None else 500)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    manual.base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield manual
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def configured(published, tmp_path):
    """Return the configuration; the operator's own tool in it needs no approval."""
    own = {"name": "own", "tool_call_template": {"call_template_type": "text", "content": "1"}}
    text = {"name": "mine", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": [own]}}
    fetched = {"name": "m", "call_template_type": "http", "url": f"{published.base}/utcp"}
    document = {"manual_call_templates": [fetched, text], "bridge": {"pin": "quarantine"}}
    (tmp_path / "utcp.json").write_text(json.dumps(document))
    return "utcp.json"


def listed(command):
    outcome = command("tools", "utcp.json", "--json")
    return sorted(tool["name"] for tool in json.loads(outcome.out))


def lines(tmp_path):
    return json.loads((tmp_path / "utcp.lock").read_text())


def test_quarantine_withholds_each_tool_until_it_is_approved(command, published, configured, tmp_path):
    assert listed(command) == ["mine.own"]
    assert not (tmp_path / "utcp.lock").exists()
    outcome = command("check", configured)
    assert "m.get" in outcome.out
    assert "utcp-bridge approve m.get" in outcome.out
    assert command("lock", configured).code == 0
    assert set(lines(tmp_path)["tools"]) == {"m.get", "m.put"}
    assert lines(tmp_path)["tools"]["m.get"]["host"] == published.base
    assert listed(command) == ["m.get", "m.put", "mine.own"]
    published.tools["delete"] = ("Deletes.", "/delete")
    assert listed(command) == ["m.get", "m.put", "mine.own"]
    assert command("approve", configured, "m.delete").out == "approved m.delete\n"
    assert listed(command) == ["m.delete", "m.get", "m.put", "mine.own"]


def test_the_difference_names_the_parts_and_is_an_exit_code(command, published, configured):
    command("lock", configured)
    outcome = command("diff", configured)
    assert (outcome.code, outcome.out) == (0, "")
    published.tools = {"get": ("Gets all of your keys.", "/get"), "new": ("Is new.", "/new")}
    outcome = command("diff", configured)
    assert outcome.code == 1
    rows = [line.split() for line in outcome.out.splitlines()[:4]]
    assert rows == [
        ["CHANGE", "TOOL", "WHAT"],
        ["changed", "m.get", "description"],
        ["new", "m.new", "calls", published.base],
        ["gone", "m.put"],
    ]
    assert "m.get says now: Gets all of your keys." in outcome.out
    assert "The document of m has changed." in outcome.err
    found = json.loads(command("diff", configured, "--json").out)
    assert [one["tool"] for one in found["changed"]] == ["m.get"]
    assert found["changed"][0]["parts"] == ["description"]
    assert (found["new"][0]["tool"], found["gone"], found["documents"]) == ("m.new", ["m.put"], ["m"])


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda manual: manual.tools.update(get=("Gets.", "/other")), "endpoint"),
        (lambda manual: manual.hints.update(destructiveHint=True), "hints: "),
    ],
)
def test_where_a_call_goes_and_hints_are_parts(command, published, configured, change, part):
    command("lock", configured)
    change(published)
    outcome = command("diff", configured)
    assert outcome.code == 1
    [row] = [line for line in outcome.out.splitlines() if line.startswith("changed  m.get")]
    assert part in row


def test_an_existing_file_is_not_replaced_without_force(command, published, configured, tmp_path):
    command("lock", configured)
    before = (tmp_path / "utcp.lock").read_bytes()
    published.tools["get"] = ("Changed.", "/get")
    outcome = command("lock", configured)
    assert outcome.code == 1
    assert "1 tool differs from" in outcome.err
    assert (tmp_path / "utcp.lock").read_bytes() == before
    assert command("lock", configured, "--force").code == 0
    assert command("diff", configured).code == 0


def test_only_the_named_tools_are_approved(command, published, configured, tmp_path):
    command("lock", configured)
    before = lines(tmp_path)
    published.tools = {"get": ("One.", "/get"), "put": ("Two.", "/put"), "post": ("Three.", "/post")}
    outcome = command("approve", configured, "m.p*")
    assert outcome.out == "approved m.post\napproved m.put\n", outcome
    after = lines(tmp_path)
    assert after["tools"]["m.get"] == before["tools"]["m.get"]
    assert after["documents"] == before["documents"], "a tool of the document still waits"
    assert command("diff", configured, "--json").out.count('"parts"') == 1
    assert command("approve", configured, "m").out == "approved m.get\n"
    assert lines(tmp_path)["documents"] != before["documents"]
    assert command("approve", configured, "--all").err.startswith("Nothing was to approve")


def test_a_name_that_fits_nothing_is_an_error_with_the_nearest_names(command, configured):
    command("lock", configured)
    outcome = command("approve", configured, "m.gett")
    assert outcome.code != 0
    assert "'m.gett' names no tool that needs approval. Did you mean m.get" in outcome.err
    assert command("approve", configured).code == 1
    assert command("approve", configured, "m", "--all").code == 1


def test_lines_of_a_manual_that_cannot_be_loaded_stay(command, published, configured, tmp_path):
    command("lock", configured)
    before = (tmp_path / "utcp.lock").read_bytes()
    tools, published.tools = published.tools, None
    for verb in (["diff"], ["lock"], ["approve", "--all"]):
        outcome = command(verb[0], configured, *verb[1:])
        assert outcome.code == 5
        assert "Manual m cannot be compared" in outcome.err
        assert (tmp_path / "utcp.lock").read_bytes() == before
    published.tools = tools
    assert command("diff", configured).code == 0


def test_without_tools_of_others_no_file_is_written(command, published, configured, tmp_path):
    published.tools = None
    outcome = command("lock", configured)
    assert outcome.code == 5
    assert "No tool needs approval" in outcome.err
    assert not (tmp_path / "utcp.lock").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 1, "tools": {}}', b'{"version": 2, "tools": 1}'])
def test_a_file_that_cannot_be_read_is_named_and_replaced_only_with_force(command, configured, tmp_path, content):
    (tmp_path / "utcp.lock").write_bytes(content)
    for verb in (["lock"], ["diff"], ["approve", "--all"]):
        outcome = command(verb[0], configured, *verb[1:])
        assert outcome.code == 2
        assert "utcp.lock cannot be read (" in outcome.err
        assert (tmp_path / "utcp.lock").read_bytes() == content
    assert command("lock", configured, "--force").code == 0
    assert set(lines(tmp_path)["tools"]) == {"m.get", "m.put"}


def test_without_a_configuration_file_there_is_one_clear_error(command):
    outcome = command("lock", "--quickstart")
    assert outcome.code == 2
    assert "utcp.lock lies beside a configuration file" in outcome.err


def test_secrets_of_an_address_are_not_in_the_file(command, published, configured, tmp_path, monkeypatch):
    monkeypatch.setenv("KEY", "sesame-9876")
    address = published.base.replace("http://", "http://user:${KEY}@")
    document = json.loads((tmp_path / "utcp.json").read_text())
    tool = {"name": "t", "tool_call_template": {"call_template_type": "http", "url": f"{address}/x?key=sesame-9876"}}
    document["manual_call_templates"][0] = {"name": "m", "call_template_type": "http", "url": f"{published.base}/utcp"}
    published.document = lambda: {"utcp_version": "1.0.1", "tools": [tool]}
    (tmp_path / "utcp.json").write_text(json.dumps(document))
    command("lock", configured)
    assert "sesame" not in (tmp_path / "utcp.lock").read_text()


SERVER = """
import anyio, json, pathlib, sys
from mcp.server.stdio import stdio_server
from tests.upstreams.mcp_offers import OffersServer

async def main():
    server = OffersServer("notes")
    said = json.loads(pathlib.Path(sys.argv[1]).read_text())
    server.instructions, server.prompt_names = said["instructions"], list(said["prompts"])
    server.descriptions = said["prompts"]
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())

anyio.run(main)
"""


class SayingServer:
    """An MCP server whose instructions and prompts are in a file."""

    def __init__(self, folder):
        self.file = folder / "said.json"
        self.said = {"instructions": "Be brief.", "prompts": {"greet": "Greets.", "part": "Parts."}}
        (folder / "server.py").write_text(SERVER)
        self.write()
        command = {
            "command": sys.executable,
            "args": [str(folder / "server.py"), str(self.file)],
            "env": {"PYTHONPATH": str(TESTS.parent)},
        }
        entry = {"name": "m", "call_template_type": "mcp", "config": {"mcpServers": {"notes": command}}}
        document = {"manual_call_templates": [entry], "bridge": {"pin": "refuse"}}
        (folder / "utcp.json").write_text(json.dumps(document))

    def write(self):
        self.file.write_text(json.dumps(self.said))


def test_prompts_and_instructions_of_a_server_differ_and_are_approved_by_name(command, tmp_path):
    server = SayingServer(tmp_path)
    outcome = command("lock", "utcp.json")
    assert outcome.code == 0
    assert "7 tools and 3 prompts and instructions." in outcome.err
    server.said["instructions"] = "Be rude."
    server.said["prompts"] = {"greet": "Greets and sends your keys.", "new": "Is new."}
    server.write()
    outcome = command("diff", "utcp.json")
    assert outcome.code == 1
    assert [line.split() for line in outcome.out.splitlines()[:5]] == [
        ["CHANGE", "TOOL", "WHAT"],
        ["changed", "m.notes/instructions", "text"],
        ["changed", "m.notes/prompts/greet", "description"],
        ["new", "m.notes/prompts/new"],
        ["gone", "m.notes/prompts/part"],
    ]
    assert "m.notes/instructions says now: Be rude." in outcome.out
    assert "m.notes/prompts/greet says now: Greets and sends your keys." in outcome.out
    found = json.loads(command("diff", "utcp.json", "--json").out)
    assert (found["changed"], found["new"], found["gone"]) == ([], [], [])
    assert [one["name"] for one in found["offers"]["changed"]] == ["m.notes/instructions", "m.notes/prompts/greet"]
    assert found["offers"]["gone"] == ["m.notes/prompts/part"]
    outcome = command("lock", "utcp.json")
    assert outcome.code == 1
    assert "4 entries differ" in outcome.err
    assert "m.notes/instructions" in command("check", "utcp.json").out
    outcome = command("approve", "utcp.json", "m.notes/instructions", "m.notes/prompts/*")
    assert outcome.out.splitlines() == [
        "approved m.notes/instructions",
        "approved m.notes/prompts/greet",
        "removed m.notes/prompts/part",
    ], "`check` has added what is new"
    assert command("diff", "utcp.json").code == 0
    assert command("check", "utcp.json").code == 0


def test_a_file_that_is_older_than_the_comparison_of_prompts_differs_in_nothing(command, tmp_path):
    SayingServer(tmp_path)
    command("lock", "utcp.json")
    content = lines(tmp_path)
    del content["offers"]
    (tmp_path / "utcp.lock").write_text(json.dumps(content))
    outcome = command("diff", "utcp.json")
    assert outcome.code == 0
    assert "does not have the 3 prompts and instructions" in outcome.err
    command("approve", "utcp.json", "m.notes.say")
    assert "offers" not in lines(tmp_path)
    assert command("lock", "utcp.json").code == 0
    assert len(lines(tmp_path)["offers"]) == 3
