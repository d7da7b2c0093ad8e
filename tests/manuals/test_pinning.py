"""Pins: the tools of strangers that changed, within one run and over restarts, by the lock file."""

import json
import logging
import os
from pathlib import Path

import anyio
import pytest
from tests.upstreams.http_service import HttpService

from utcp_bridge import UtcpClient

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


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"tools": [], "version": 1}', b'{"tools": {}, "version": 2}'])
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
