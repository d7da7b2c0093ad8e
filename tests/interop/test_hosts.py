"""Hosts: MCP clients of others list and call the tools of the bridge, over stdio and HTTP.

Each client stays connected for all its tests. The marker `column` names the test in the table of docs/interop.md, and
the ability that a client must have for it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.interop.hosting import Host, HostFailed, HostKind, cases, hosted
from tests.interop.serving import free_port, serving, until
from tests.interop.software import Software
from tests.interop.storehouse import FILLERS, ORDER, Storehouse

pytestmark = pytest.mark.timeout(400)

SERVE = (sys.executable, "-m", "utcp_bridge", "serve")
BODY = {"order": ORDER, "tags": ["x", "y"], "note": "careful", "urgent": True}
PLAIN_ORDER = {"id": 7, "lines": [{"sku": "a", "qty": 2}]}
WITH_NULLS = {
    "body": {"order": {**PLAIN_ORDER, "kind": None}, "tags": None, "note": None, "urgent": None},
    "trace": None,
    "page": None,
}


def bridge(port: int, config: Path) -> AbstractContextManager[Any]:
    return serving([*SERVE, config, "--http", "--port", str(port)], port=port)


@pytest.fixture(scope="module")
def url(storehouse_config: Path) -> Iterator[str]:
    port = free_port()
    with bridge(port, storehouse_config):
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.fixture(scope="module", params=cases())
def host(
    request: pytest.FixtureRequest, storehouse_config: Path, installed: Callable[[Software], None]
) -> Iterator[Host]:
    """One client over one transport, connected for all its tests."""
    kind, transport = request.param
    installed(kind.software)
    if transport == "http":
        target = {"url": request.getfixturevalue("url")}
    else:
        target = {"command": SERVE[0], "args": [*SERVE[1:], str(storehouse_config)]}
    with hosted(kind, target) as running:
        yield running


def refusal(host: Host, tool: str, arguments: dict[str, Any] | None = None) -> str:
    """Return the words of a call that must fail; some clients return a result, others raise an error."""
    try:
        return str(host.call(tool, arguments)["text"])
    except HostFailed as error:
        return str(error)


@pytest.mark.column("all tools")
def test_a_host_lists_all_tools(host: Host, storehouse: Storehouse) -> None:
    listed = host.ask("list")
    assert len(listed) > FILLERS
    missing = {f"fx_{name}" for name in storehouse.original} - set(listed)
    assert sorted(missing) == []


@pytest.mark.column("arguments")
def test_objects_lists_and_enumerations_arrive(host: Host) -> None:
    result = host.call("fx_nested", {"body": BODY})
    assert not result["is_error"]
    assert json.loads(result["text"]) == {"got": BODY, "count": 2}


@pytest.mark.column("nulls", ability="nulls")
def test_nulls_for_optional_arguments_are_left_out(host: Host) -> None:
    result = host.call("fx_nested", WITH_NULLS)
    assert not result["is_error"], result["text"]
    assert json.loads(result["text"]) == {"got": {"order": PLAIN_ORDER}, "count": 1}


@pytest.mark.column("structure", ability="structured")
def test_structured_output_arrives(host: Host) -> None:
    assert host.call("fx_nested", {"body": BODY})["structured"] == {"got": BODY, "count": 2}


@pytest.mark.column("errors")
def test_the_words_of_an_upstream_error_arrive(host: Host) -> None:
    words = refusal(host, "fx_fail")
    assert "409" in words
    assert "stock is empty" in words


@pytest.mark.column("error mark", ability="is_error")
def test_the_result_of_an_upstream_error_is_marked(host: Host) -> None:
    assert host.call("fx_fail")["is_error"]


@pytest.mark.column("wrong arguments", ability="wrong")
def test_the_name_of_a_wrong_argument_arrives(host: Host) -> None:
    assert "order.id" in refusal(host, "fx_nested", {"body": {"order": {"id": "seven", "lines": []}}})


@pytest.mark.column("unknown tool", ability="unknown")
def test_a_tool_that_does_not_exist_is_named(host: Host) -> None:
    assert "no_such_tool" in refusal(host, "no_such_tool")


@pytest.mark.column("pictures", ability="pictures")
def test_a_picture_arrives_as_one(host: Host) -> None:
    kinds = host.call("fx_image")["kinds"]
    assert len(kinds) == 1
    assert kinds[0].startswith("image")  # some name their own class


@pytest.mark.column("progress", ability="progress")
def test_progress_arrives_while_the_call_runs(host: Host, storehouse: Storehouse) -> None:
    """The service takes its next step when the test saw the last one: some clients drop what comes with the result."""
    call = host.start("call", tool="fx_progress", arguments={})
    for step in (1, 2, 3):
        storehouse.steps.release()
        until(lambda step=step: [step, 3] in [one[:2] for one in host.ask("progress")], seconds=60)
    storehouse.steps.release()
    assert not host.reply(call)["is_error"]
    assert [one[:2] for one in host.ask("progress")] == [[1, 3], [2, 3], [3, 3]]


@pytest.mark.column("cancelling", ability="cancel")
def test_a_cancelled_call_ends_at_the_service_and_the_next_one_works(host: Host, storehouse: Storehouse) -> None:
    started, cancelled = storehouse.seen["slow started"], storehouse.seen["slow cancelled"]
    call = host.start("call", tool="fx_slow", arguments={})
    until(lambda: storehouse.seen["slow started"] > started, seconds=60)
    host.ask("cancel", call=call)
    until(lambda: storehouse.seen["slow cancelled"] > cancelled, seconds=60)
    with pytest.raises(HostFailed):
        host.reply(call)
    assert not host.call("fx_nested", {"body": BODY})["is_error"]


@pytest.mark.column("`list_changed`", ability="hears")
def test_a_host_hears_of_a_tool_that_appears(host: Host, storehouse: Storehouse) -> None:
    host.ask("list")
    before = host.ask("heard")
    name = f"fx_{storehouse.grow()}"
    until(lambda: host.ask("heard") > before and name in host.ask("list"), seconds=60)


@pytest.mark.column("new tools", ability="relist")
def test_a_tool_that_appears_later_is_listed(host: Host, storehouse: Storehouse) -> None:
    host.ask("list")
    name = f"fx_{storehouse.grow()}"
    until(lambda: name in host.ask("list"), seconds=60)


@pytest.mark.column("10 MB", ability="large")
def test_a_reply_of_10_megabytes_is_returned_and_the_next_call_works(host: Host) -> None:
    result = host.call("fx_big")
    assert not result["is_error"], result["text"][:500]
    assert '"sku"' in result["text"]
    assert not host.call("fx_nested", {"body": BODY})["is_error"]


@pytest.mark.column("converter", ability="converts")
def test_the_converter_of_a_host_takes_all_tools(host: Host) -> None:
    assert host.ask("convert") == {}


@pytest.mark.column("restart")
@pytest.mark.parametrize("host", cases("http"))
def test_a_host_goes_on_after_a_restart_of_the_server(host: tuple[HostKind, str], storehouse_config: Path) -> None:
    """A client may lose the call that finds its connection closed, and no more."""
    kind, _ = host
    port = free_port()
    with ExitStack() as bridges:
        bridges.enter_context(bridge(port, storehouse_config))
        with hosted(kind, {"url": f"http://127.0.0.1:{port}/mcp"}) as running:
            assert not running.call("fx_nested", {"body": BODY})["is_error"]
            bridges.close()
            bridges.enter_context(bridge(port, storehouse_config))
            failures = [attempt(running) for _ in range(2)]
    assert failures[-1] == "", failures


def attempt(host: Host) -> str:
    """Return why a call failed, or nothing."""
    try:
        result = host.call("fx_nested", {"body": BODY})
    except HostFailed as error:
        return str(error)
    return str(result["text"]) if result["is_error"] else ""
