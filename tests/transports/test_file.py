"""The shared suite for local files, and the results of the file transport."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

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
