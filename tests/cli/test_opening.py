"""Opening a client as the options say: reports on stderr, and the wait for manuals."""

import termios

import pytest

from utcp_bridge.cli.opening import opened, report_failures, run_async, show_progress, wait_for_manuals
from utcp_bridge.cli.options import Options
from utcp_bridge.errors import ConfigError
from utcp_bridge.net.gate.connection_watch import _watch

pytestmark = pytest.mark.anyio


async def test_the_quickstart_adds_tools_to_the_named_configuration(manual):
    async with opened(Options(sources=(manual,), quickstart=True)) as client:
        await wait_for_manuals(client)
        names = [state.name for state in client.report()]
    assert names == ["notices", "gone", "desk", "studio", "calendar", "books", "workshop", "guide"]


async def test_a_tool_name_loads_only_its_manual(manual):
    async with opened(Options(sources=(manual,)), only="notices.door") as client:
        assert [state.name for state in client.report()] == ["notices"]


async def test_a_name_without_a_manual_loads_every_manual(manual):
    async with opened(Options(sources=(manual,)), only="door") as client:
        assert [state.name for state in client.report()] == ["notices", "gone"]


@pytest.mark.parametrize("check", [True, False])
async def test_connections_are_watched_while_a_client_is_open_if_the_setting_says_so(manual, check):
    before = len(_watch.allowed)
    async with opened(Options(sources=(manual,), settings={"check_connections": check})):
        assert len(_watch.allowed) - before == int(check)
    assert len(_watch.allowed) == before


async def test_waiting_ends_when_enough_is_loaded(manual):
    async with opened(Options(sources=(manual,))) as client:
        await wait_for_manuals(client, lambda: True)


async def test_failed_manuals_are_reported_and_returned(manual, capsys):
    async with opened(Options(sources=(manual,))) as client:
        await wait_for_manuals(client)
        failed = report_failures(client)
    assert [state.name for state in failed] == ["gone"]
    assert "Manual gone failed" in capsys.readouterr().err


async def test_a_manual_still_loading_is_shown_on_a_terminal(terminal, tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        path = tmp_path / "slow.json"
        path.write_text(f'["http://127.0.0.1:{silent.getsockname()[1]}/utcp"]')
        shown = ""

        def is_shown():
            nonlocal shown
            shown += terminal.shown()
            return "Loading 127_0_0_1" in shown

        with terminal:
            async with opened(Options(sources=(str(path),), settings={"discovery_timeout": 60})) as client:
                await wait_for_manuals(client, is_shown)
        shown += terminal.shown()
    assert "Loading 127_0_0_1 …" in shown
    assert shown.endswith("\r\x1b[2K")


@pytest.mark.parametrize(
    ("columns", "text", "shown"),
    [
        (20, "x" * 19, "x" * 19),
        (20, "x" * 20, "x" * 18 + "…"),
        (20, "漢" * 20, "漢" * 9 + "…"),
        (0, "y" * 99, "y" * 78 + "…"),
    ],
)
def test_a_progress_line_fits_the_width_of_the_terminal(terminal, columns, text, shown):
    termios.tcsetwinsize(terminal.stream.fileno(), (24, columns))
    with terminal:
        show_progress(text)
    assert terminal.shown() == f"\r\x1b[2K{shown}"


async def test_settings_of_the_command_line_reach_the_client(manual):
    options = Options(sources=(manual,), settings={"call_timeout": 7, "audit_log": "calls.jsonl"})
    async with opened(options, quiet=False) as client:
        await wait_for_manuals(client)
        await client.call_tool("notices.door")
        assert client.settings.call_timeout == 7
    from pathlib import Path

    assert '"tool":"notices.door"' in Path(manual).with_name("calls.jsonl").read_text()


async def test_no_configuration_is_a_configuration_error():
    with pytest.raises(ConfigError):
        async with opened(Options()):
            pass


def test_a_coroutine_function_is_run_to_its_end():
    async def work(value):
        return value

    assert run_async(work, 3) == 3
