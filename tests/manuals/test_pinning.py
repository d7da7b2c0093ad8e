"""Pins: the tools of strangers that changed, within one run and over restarts, by the lock file."""

import json
import logging
import os
from pathlib import Path

import anyio
import pytest
from tests.support.tools import make_tool
from tests.upstreams.http_service import HttpService

from utcp_bridge import UtcpClient
from utcp_bridge.manuals.pinning import Approved, Pin, fingerprint, pinned
from utcp_bridge.model import Source, Tool, Trust
from utcp_bridge.tasks import at_once

pytestmark = pytest.mark.anyio
CHANGED = "Also sends your keys."


def configuration(folder: Path, service: HttpService, pin: str | None = "refuse") -> Path:
    file = folder / "utcp.json"
    entry = {"name": "peer", "call_template_type": "http", "url": f"{service.base}/utcp"}
    settings = {} if pin is None else {"pin": pin}
    file.write_text(json.dumps({"manual_call_templates": [entry], "bridge": settings}), encoding="utf-8")
    return file


async def echo_of(file: Path) -> str | None:
    """Start a client, and return the description of the tool; None if the tool is withheld."""
    async with await UtcpClient.create(file) as client:
        tool = client.find("peer.echo")
        return None if tool is None else tool.description


async def test_a_tool_that_changed_between_two_runs_is_withheld_until_its_line_is_deleted(tmp_path: Path) -> None:
    async with HttpService() as service:
        file, lock = configuration(tmp_path, service), tmp_path / "utcp.lock"
        first = await echo_of(file)
        assert first is not None
        service.descriptions["echo"] = CHANGED
        assert await echo_of(file) is None
        assert await echo_of(file) is None
        lines = lock.read_text(encoding="utf-8").splitlines(keepends=True)
        lock.write_text("".join(line for line in lines if '"peer.echo"' not in line), encoding="utf-8")
        assert await echo_of(file) == CHANGED
        service.descriptions["echo"] = first
        assert await echo_of(file) is None


async def test_a_warning_names_the_change_and_the_tool_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with HttpService() as service:
        file = configuration(tmp_path, service, "warn")
        await echo_of(file)
        service.descriptions["echo"] = CHANGED
        with caplog.at_level(logging.WARNING, logger="utcp_bridge"):
            assert await echo_of(file) == CHANGED
    assert "peer.echo: Its definition changed from" in caplog.text


async def test_an_endpoint_that_moved_is_a_change_too(tmp_path: Path) -> None:
    async with HttpService() as service, HttpService() as other:
        await echo_of(configuration(tmp_path, service))
        assert await echo_of(configuration(tmp_path, other)) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"tools": [], "version": 2}', b'{"tools": {}, "version": 1}'])
async def test_a_lock_file_that_cannot_be_read_is_kept_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    lock = tmp_path / "utcp.lock"
    lock.write_bytes(content)
    async with HttpService() as service:
        with caplog.at_level(logging.WARNING, logger="utcp_bridge"):
            assert await echo_of(configuration(tmp_path, service, "warn")) is not None
        assert f"{lock} cannot be read" in caplog.text
        async with await UtcpClient.create(configuration(tmp_path, service, "refuse")) as client:
            assert client.tools() == ()
            [fault] = client.report()[0].faults
            assert fault.what.startswith(f"{lock} cannot be read (")
            assert fault.what.endswith("), so its tools are withheld (`pin` is `refuse`).")
            assert fault.remedy == "Correct or delete utcp.lock, then load the manual again."
            assert lock.read_bytes() == content
            lock.unlink()
            await client.refresh("peer")
            assert client.find("peer.echo") is not None
            assert "peer.echo" in lock.read_text(encoding="utf-8")


async def test_a_lock_file_that_cannot_be_used_withholds_no_tool_of_the_operator(tmp_path: Path) -> None:
    (tmp_path / "utcp.lock").mkdir()
    async with HttpService() as service:
        file = configuration(tmp_path, service)
        config = json.loads(file.read_text(encoding="utf-8"))
        template = {"call_template_type": "http", "url": f"{service.base}/echo"}
        own = {"utcp_version": "1.0.1", "tools": [{"name": "mine", "tool_call_template": template}]}
        (tmp_path / "own.json").write_text(json.dumps(own), encoding="utf-8")
        config["manual_call_templates"].append({"name": "own", "call_template_type": "text", "file_path": "own.json"})
        file.write_text(json.dumps(config), encoding="utf-8")
        async with await UtcpClient.create(file) as client:
            assert [tool.qualified_name for tool in client.tools()] == ["own.mine"]
            assert [len(state.faults) for state in client.report()] == [1, 0]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="the system has no symbolic links")
async def test_a_lock_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    project = tmp_path / "project"
    project.mkdir()
    (project / "utcp.lock").symlink_to(target)
    async with HttpService() as service:
        await echo_of(configuration(project, service))
    assert target.read_bytes() == b"mine"


async def test_without_a_setting_nothing_is_written(tmp_path: Path) -> None:
    async with HttpService() as service:
        await echo_of(configuration(tmp_path, service, None))
    assert [path.name async for path in anyio.Path(tmp_path).iterdir()] == ["utcp.json"]


FETCHED = Source(name="peer", trust=Trust.REMOTE)


def edition(count: int, description: str) -> list[Tool]:
    return [make_tool(f"t{number}", source=FETCHED, description=description) for number in range(count)]


@pytest.mark.parametrize("pin", ["warn", "refuse"])
def test_the_changes_of_one_refresh_are_one_line(pin: Pin, caplog: pytest.LogCaptureFixture) -> None:
    approved: Approved = {}
    at_once(pinned(edition(2_000, "old"), approved, pin))
    with caplog.at_level(logging.WARNING):
        kept, faults = at_once(pinned(edition(2_000, "new"), approved, pin))
    assert (len(kept), len(faults)) == ((2_000, 0) if pin == "warn" else (0, 2_000))
    [line] = [record.getMessage() for record in caplog.records]
    assert line.count("Its definition changed from") == 5
    assert line.endswith(" 1,995 more tools changed.")


def test_a_tool_that_went_and_comes_back_changed_is_noticed() -> None:
    approved: Approved = {}
    old, new = edition(2, "old"), edition(2, "new")
    at_once(pinned(old, approved, "refuse"))
    assert at_once(pinned(old[:1], approved, "refuse")) == (old[:1], [])
    assert approved["t1"] == fingerprint(old[1]), "only the fingerprint is kept"
    kept, faults = at_once(pinned([old[0], new[1]], approved, "refuse"))
    assert kept == old[:1]
    assert "withheld" in faults[0].what
    again = edition(2, "old")
    assert at_once(pinned(again, approved, "refuse")) == (again, [])


def test_names_that_come_and_go_for_ever_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utcp_bridge.manuals.pinning.MAX_TOOLS", 10)
    approved: Approved = {}
    for number in range(20):
        at_once(pinned([make_tool(f"a{number}", source=FETCHED)], approved, "warn"))
    assert list(approved) == [f"a{number}" for number in range(10, 20)]
