"""What importing brings along: start-up is import time, so heavy packages wait until they are needed."""

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import utcp_bridge

HEAVY = ("aiohttp", "aiortc", "authlib", "graphql", "grpc", "httpx2", "jsonschema_rs", "mcp", "mcp_types", "pydantic")
PROBE = """
import json, sys
before = set(sys.modules)
{code}
json.dump(sorted(set(sys.modules) - before), sys.stdout)
"""


def loaded_by(code: str) -> set[str]:
    """Top-level packages that a fresh interpreter loads for `code`."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code)], capture_output=True, check=True, encoding="utf-8", timeout=60
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_by("import utcp_bridge")
    assert "utcp_bridge" in loaded
    assert loaded & set(HEAVY) == set()


def test_the_nouns_and_errors_load_no_network_library() -> None:
    loaded = loaded_by("from utcp_bridge import Tool, UtcpError")
    assert loaded & set(HEAVY) == set()


def test_the_client_loads_neither_the_sdk_nor_what_optional_transports_need() -> None:
    loaded = loaded_by("from utcp_bridge import UtcpClient")
    assert loaded & {"mcp", "mcp_types", "aiohttp", "aiortc", "grpc", "graphql", "starlette", "uvicorn"} == set()


def test_the_command_answers_help_without_the_client() -> None:
    code = "import contextlib, io\nfrom utcp_bridge.cli import main\n"
    code += "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n    main(['--help'])"
    assert loaded_by(code) & set(HEAVY) == set()


@pytest.mark.parametrize("name", utcp_bridge.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(utcp_bridge, name) is not None
    assert name in dir(utcp_bridge)


def test_public_names_are_sorted_and_others_are_refused() -> None:
    assert utcp_bridge.__all__ == sorted(utcp_bridge.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = utcp_bridge.no_such_name


def modules_of(*words: str, cwd: Path | None = None) -> set[str]:
    """Every module that a command has loaded when it ends."""
    code = f"""
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
sys.argv = ["utcp-bridge", *{words!r}]
from utcp_bridge.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8", timeout=120, cwd=cwd
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def classes_written_at_import(loaded: set[str]) -> set[str]:
    """The modules among those loaded whose data classes cost 0.7 ms each when they are imported."""
    root = Path(utcp_bridge.__file__).parent
    files = {
        path: ".".join(["utcp_bridge", *path.relative_to(root).with_suffix("").parts]) for path in root.rglob("*.py")
    }
    eager = re.compile(r"^from dataclasses import .*\bdataclass\b", re.MULTILINE)
    return {
        name
        for path, module in files.items()
        if (name := module.removesuffix(".__init__")) in loaded and eager.search(path.read_text(encoding="utf-8"))
    }


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["completion", "bash"]], ids=" ".join)
def test_a_command_that_opens_nothing_loads_no_library_but_its_own(words: list[str]) -> None:
    loaded = modules_of(*words)
    assert "click" in loaded
    assert {name.partition(".")[0] for name in loaded} & {*HEAVY, "anyio", "asyncio", "yaml"} == set()


def test_help_loads_no_verb_and_nothing_that_only_verbs_need() -> None:
    loaded = modules_of("--help")
    assert [name for name in loaded if name.startswith("utcp_bridge.cli.commands.")] == []
    assert {"utcp_bridge.cli.options", "utcp_bridge.errors", "dataclasses", "logging", "pathlib"} & loaded == set()


def test_a_call_loads_what_its_tool_needs(tmp_path: Path) -> None:
    tool = {"name": "a", "tool_call_template": {"call_template_type": "text", "content": "done"}}
    entry = {"name": "m", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": [tool]}}
    (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": [entry]}), encoding="utf-8")

    loaded = modules_of("call", "m.a", cwd=tmp_path)

    assert "utcp_bridge.client.client" in loaded
    heavy = {*HEAVY, "starlette", "uvicorn", "yaml"} - {"pydantic", "jsonschema_rs"}
    assert {name.partition(".")[0] for name in loaded} & heavy == set()
    others = {
        "catalogue.catalogue",
        "client.logins",
        "client.mapped",
        "configuration.hosts.reading",
        "manuals.registries",
        "net.http_session",
        "net.web_page",
        "placement.http_template",
        "registry.client",
        "search.index",
        "search.memory",
        "search.text",
    }
    assert {f"utcp_bridge.{name}" for name in others} & loaded == set()
    assert classes_written_at_import(loaded) == set()


def test_a_client_with_few_tools_loads_no_index_by_itself() -> None:
    code = """
import sys, anyio
from utcp_bridge import UtcpClient
import utcp_bridge.client.search
utcp_bridge.client.search._INDEX_AFTER = 0.0

async def main():
    async with await UtcpClient.create([]):
        await anyio.wait_all_tasks_blocked()

anyio.run(main)
print("utcp_bridge.search.index" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8", timeout=60)
    assert done.stdout == "False\n"


def test_a_call_over_plain_http_loads_no_engine(tmp_path: Path) -> None:
    class Pong(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"pong")

    with ThreadingHTTPServer(("127.0.0.1", 0), Pong) as upstream:
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{upstream.server_port}/"
        tool = {"name": "a", "tool_call_template": {"call_template_type": "http", "url": url, "http_method": "GET"}}
        entry = {"name": "m", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": [tool]}}
        entry |= {"allow_networks": ["127.0.0.0/8"], "allowed_communication_protocols": ["http"]}
        (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": [entry]}), encoding="utf-8")
        loaded = modules_of("call", "m.a", cwd=tmp_path)
        upstream.shutdown()

    assert "utcp_bridge.net.heads.first_requests" in loaded
    assert {name.partition(".")[0] for name in loaded} & {"aiohttp", "yarl", "attr", "email"} == set()


def test_a_worker_that_reads_documents_loads_no_models() -> None:
    loaded = loaded_by("import utcp_bridge.workers.program, utcp_bridge.dialects.worker")
    assert loaded & {*HEAVY, "click", "yaml"} == set()


def test_a_session_over_stdio_loads_no_sdk(tmp_path: Path) -> None:
    tool = {"name": "a", "tool_call_template": {"call_template_type": "text", "content": "done"}}
    entry = {"name": "m", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": [tool]}}
    (tmp_path / "utcp.json").write_text(json.dumps({"manual_call_templates": [entry]}), encoding="utf-8")
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"roots": {"listChanged": True}, "elicitation": {}},
        "clientInfo": {"name": "test", "title": "Test", "version": "1"},
    }
    requests = [
        ("initialize", hello),
        ("tools/list", None),
        ("tools/call", {"name": "m_a", "arguments": {}}),
        ("resources/list", {}),
        ("ping", None),
    ]
    lines = [
        json.dumps({"jsonrpc": "2.0", "id": place, "method": method} | ({} if params is None else {"params": params}))
        for place, (method, params) in enumerate(requests)
    ]

    loaded, answers = modules_of_session(lines, tmp_path)

    assert [sorted(one) for one in answers] == [["id", "jsonrpc", "result"]] * len(requests)
    assert "done" in str(answers[2])
    heavy = {*HEAVY, "cryptography", "opentelemetry", "starlette", "uvicorn", "yaml"} - {"pydantic", "jsonschema_rs"}
    assert {name.partition(".")[0] for name in loaded} & heavy == set()
    assert {f"utcp_bridge.server.{name}" for name in ("app", "hot.calls", "stdio", "relay.relay")} & loaded == set()
    others = {"utcp_bridge.search.arguments", "utcp_bridge.search.index", "utcp_bridge.net.web_page"}
    assert {*others, "difflib", "email.utils", "importlib.metadata", "tempfile"} & loaded == set()
    assert sys.version_info >= (3, 14) or "shutil" not in loaded  # a later Python may need it itself
    assert {one for one in loaded if one.endswith(" with all fields")} == set()
    assert classes_written_at_import(loaded) == set()


def modules_of_session(lines: list[str], cwd: Path) -> tuple[set[str], list[dict[str, object]]]:
    """Every module that a bridge over stdio has loaded when it ends, and its answers to requests.

    Among the modules are the models whose check of every field was built.
    """
    code = """
import atexit, json, sys
before = set(sys.modules)
def tell():
    from utcp_bridge.settings import BridgeSettings, ManualOptions, UtcpClientConfig
    built = [f"{one.__name__} with all fields" for one in (BridgeSettings, ManualOptions, UtcpClientConfig)
             if one.__pydantic_complete__]
    print(json.dumps([*sorted(set(sys.modules) - before), *built]), file=sys.stderr)
atexit.register(tell)
sys.argv = ["utcp-bridge", "serve"]
from utcp_bridge.cli import main
main()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, encoding="utf-8"
    ) as bridge:
        assert bridge.stdin is not None
        assert bridge.stdout is not None
        assert bridge.stderr is not None
        answers = []
        for line in lines:
            bridge.stdin.write(line + "\n")
            bridge.stdin.flush()
            answers.append(json.loads(bridge.stdout.readline()))
        bridge.stdin.close()
        loaded = json.loads(bridge.stderr.read().splitlines()[-1])
    return set(loaded), answers


def test_a_verb_of_the_program_finds_its_modules_at_once() -> None:
    code = """
import contextlib, io, sys
from utcp_bridge.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["call", "--help"])
print(sum(type(one).__module__ == "utcp_bridge.late.modules" for one in sys.meta_path))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8", timeout=60)
    assert done.stdout.split() == ["1" if sys.platform != "win32" else "0"]
