"""The shared suite for local files, and the results of the file transport."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

from utcp_bridge import UtcpClient
from utcp_bridge.errors import ManualError, PolicyError, ReplyTooLarge
from utcp_bridge.model import Binary, JsonObject, Source, Trust, discard
from utcp_bridge.testing.contract import LIMIT, Bench, Case, Peer
from utcp_bridge.testing.services import make_call, make_target, open_services
from utcp_bridge.transport import LocalFile
from utcp_bridge.transports.file import TRANSPORT, FileTemplate, FileTransport

pytestmark = pytest.mark.anyio

_YAML = "utcp_version: 1.0.1\ntools:\n- name: echo\n  tool_call_template: {call_template_type: file, file_path: a}\n"


class FilePeer(Peer):
    transport = FileTransport
    impossible: ClassVar[dict[str, str]] = {
        "auth": "a file is read with the bridge's own rights",
        "reset": "a file has no connection",
        "malformed": "a file's text is given on as it is",
        "slow": "regular files answer at once",
    }

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.root = Path(self._folder.name)

    async def start(self) -> None:
        v0 = {"version": "0.2.0", "tools": [{"name": "echo", "tool_provider": {"provider_type": "file"}}]}
        self.write("v0.json", json.dumps(v0))
        self.write("v1.yaml", _YAML)
        self.write("large", "x" * (LIMIT + 1))

    async def stop(self) -> None:
        self._folder.cleanup()

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text, encoding="utf-8")

    def manual(self, dialect: str) -> JsonObject:
        if dialect == "v0":
            return {"provider_type": "file", "file_path": "v0.json"}
        return {"call_template_type": "file", "file_path": "./v1.yaml"}

    def echo(self, text: str) -> Case:
        name = f"echo-{text.encode().hex()}.txt"
        self.write(name, text)
        return Case({"call_template_type": "file", "file_path": name})

    def echoed(self, value: Any) -> str:
        return value

    def fault(self, name: str) -> Case:
        return Case(
            {"call_template_type": "file", "file_path": {"refused": "missing.json", "oversized": "large"}[name]}
        )

    def with_secret(self, case: Case, secret: str) -> Case:
        return replace(case, template={**case.template, "auth_tools": {"auth_type": "api_key", "api_key": secret}})


PEER = FilePeer


@pytest.fixture
def folder(bench: Bench) -> Path:
    return bench.peer.root


async def _discover(bench: Bench, path: str) -> Any:
    with anyio.fail_after(60):
        return await bench.transport.discover(bench.target({"file_path": path}))


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("m.json", "application/json"), ("m.JSONC", "application/jsonc"), ("m.yml", "application/yaml"), ("m.txt", None)],
)
async def test_a_manual_has_its_path_and_the_media_type_of_its_name(
    bench: Bench, folder: Path, name: str, media_type: str | None
) -> None:
    (folder / name).write_bytes(b"{} // a comment")
    document = await _discover(bench, name)
    assert document.content == b"{} // a comment"
    assert document.url == str((folder / name).resolve())
    assert document.media_type == media_type


async def test_an_empty_file_is_not_a_manual(bench: Bench, folder: Path) -> None:
    (folder / "empty.json").write_bytes(b" \n")
    with pytest.raises(ManualError, match=r"empty\.json"):
        await _discover(bench, "empty.json")


@pytest.mark.parametrize(
    ("name", "data", "value"),
    [
        ("a.txt", b"\xef\xbb\xbfwith a mark", "with a mark"),
        ("a.png", b"\x89PNG\r\n\xff", Binary(b"\x89PNG\r\n\xff", "image/png")),
        ("a.unknown", b"\xff\xfe\x00", Binary(b"\xff\xfe\x00")),
        ("a.json", b"[1, 2]", "[1, 2]"),
    ],
)
async def test_a_call_returns_text_unchanged_and_other_bytes_as_binary(
    bench: Bench, folder: Path, name: str, data: bytes, value: Any
) -> None:
    (folder / name).write_bytes(data)
    with anyio.fail_after(60):
        assert await bench.call(Case({"file_path": name})) == value


async def test_a_limit_of_the_manual_wins_over_the_setting(bench: Bench, folder: Path) -> None:
    (folder / "five").write_text("12345", encoding="utf-8")
    call = make_call({}, limits={"max_reply_bytes": 4})
    with anyio.fail_after(60), pytest.raises(ReplyTooLarge):
        await bench.transport.call(bench.target({"file_path": "five"}), call, discard)


async def test_a_fetched_manual_can_read_only_files_in_the_root(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("seen", encoding="utf-8")
    target = bench.target({"file_path": str(outside)})
    with anyio.fail_after(60):
        assert (await bench.transport.call(target, make_call({}), discard)).value == "seen"
        fetched = replace(target, source=Source(name="peer", trust=Trust.REMOTE, trusted=True))
        with pytest.raises(PolicyError, match="leads out"):
            await bench.transport.call(fetched, make_call({}), discard)


async def test_reading_a_file_is_read_only_and_needs_trust_in_a_fetched_manual() -> None:
    template = FileTemplate(call_template_type="file", file_path="x")
    assert TRANSPORT.annotations(template) == {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}
    assert TRANSPORT.endpoint(template) is None
    assert TRANSPORT.remote is False


async def test_the_need_is_the_file(tmp_path: Path) -> None:
    async with open_services(root=tmp_path) as services:
        transport = FileTransport(services)
        assert list(transport.needs(make_target(transport, {"file_path": "a.json"}))) == [LocalFile("a.json", tmp_path)]


SECRET_OF_ANOTHER = "not for this manual"


def reading(*paths: str) -> JsonObject:
    """Return a manual whose tools t0, t1, … read files."""
    tools = [
        {"name": f"t{at}", "tool_call_template": {"call_template_type": "file", "file_path": path}}
        for at, path in enumerate(paths)
    ]
    return {"utcp_version": "1.0.1", "tools": tools}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder with files, and links that lead into and out of `manuals`."""
    manuals = tmp_path / "manuals"
    (manuals / "more").mkdir(parents=True)
    (manuals / ".git").mkdir()
    for name in ("notes.txt", "manuals/near.txt", "manuals/more/deep.txt"):
        (tmp_path / name).write_text("for all", encoding="utf-8")
    for name in ("utcp.env", "manuals/.env", "manuals/.git/config"):
        (tmp_path / name).write_text(SECRET_OF_ANOTHER, encoding="utf-8")
    (manuals / "link").symlink_to(tmp_path / "utcp.env")
    (tmp_path / "in").symlink_to(manuals / "near.txt")
    return tmp_path


INSIDE = ("manuals/near.txt", "manuals/more/deep.txt", "./manuals/more/../near.txt", "in")
OUTSIDE = (
    "utcp.env",
    "manuals/.env",
    "manuals/.git/config",
    "manuals/link",
    "manuals/../utcp.env",
    "/etc/hostname",
    "~/x",
)


async def _read_tools(entry: JsonObject, home: Path, **more: Any) -> tuple[set[str], set[Any]]:
    """Return the names of the tools, and what calls of them return."""
    config = {"manual_call_templates": [{"name": "m", **entry}], **more}
    async with await UtcpClient.create(config, root=home) as client:
        names = {tool.name for tool in client.tools()}
        return names, {await client.call_tool(f"m.{name}") for name in names}


@pytest.mark.parametrize("dialect", ["v1", "v0"])
async def test_tools_of_a_manual_in_a_file_read_files_below_its_folder_only(home: Path, dialect: str) -> None:
    document = reading(*INSIDE, *OUTSIDE, str(home / "utcp.env"), str(home / "manuals" / "near.txt"))
    if dialect == "v0":
        tools = [
            {"name": tool["name"], "tool_provider": {"provider_type": "text", "file_path": path["file_path"]}}
            for tool in document["tools"]
            if (path := tool["tool_call_template"])
        ]
        document = {"version": "0.1.1", "tools": tools}
    (home / "manuals" / "m.json").write_text(json.dumps(document))
    entry = {"call_template_type": "file", "file_path": "manuals/m.json"}
    names, values = await _read_tools(entry, home)
    assert names == {"t0", "t1", "t2", "t3", f"t{len(INSIDE) + len(OUTSIDE) + 1}"}
    assert values == {"for all"}


@pytest.mark.parametrize("word", [{"trusted": True}, {"allowed_communication_protocols": ["file", "http"]}])
async def test_the_word_of_the_entry_opens_other_files_to_a_local_manual(home: Path, word: JsonObject) -> None:
    (home / "manuals" / "m.json").write_text(json.dumps(reading("utcp.env", "manuals/.env", str(home / "notes.txt"))))
    names, values = await _read_tools({"call_template_type": "file", "file_path": "manuals/m.json", **word}, home)
    assert (names, values) == ({"t0", "t1", "t2"}, {"for all", SECRET_OF_ANOTHER})


async def test_a_manual_in_a_text_reads_files_below_the_folder_of_the_configuration(home: Path) -> None:
    document = reading("notes.txt", "manuals/near.txt", "manuals/.env", "/etc/hostname", "../x")
    names, values = await _read_tools({"call_template_type": "text", "content": document}, home)
    assert (names, values) == ({"t0", "t1"}, {"for all"})


async def test_what_a_local_manual_may_not_read_is_reported_with_the_remedy_and_checked_at_the_call(home: Path) -> None:
    (home / "manuals" / "m.json").write_text(json.dumps(reading("utcp.env", "${WHICH}", "manuals/near.txt")))
    entry = {"name": "m", "call_template_type": "file", "file_path": "manuals/m.json"}
    config = {"manual_call_templates": [entry], "variables": {}}
    async with await UtcpClient.create(config, root=home) as client:
        [fault] = [fault for fault in client.report()[0].faults if fault.severity == "error"]
        assert "'utcp.env', which is hidden or not below the folder of its manual" in fault.what
        assert '"allowed_communication_protocols": ["file", …]' in fault.remedy
        near = home / "manuals" / "near.txt"
        near.unlink()
        near.symlink_to(home / "utcp.env")
        with pytest.raises(PolicyError, match="not below the folder"):
            await client.call_tool("m.t2")
    config["variables"] = {"m_WHICH": "utcp.env"}
    async with await UtcpClient.create(config, root=home) as client:
        assert {tool.name for tool in client.tools()} == set()
