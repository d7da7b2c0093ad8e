"""FastMCP: its servers of both protocol eras behind the bridge, with clients of both eras in front.

Each server lists resources, templates and prompts, reports progress, writes to the log, and asks its client for input,
in the way of its era.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp.client import Client
from tests.interop.serving import free_port, serving
from tests.interop.software import PyPI

FASTMCP = PyPI("fastmcp==4.2.3", "python", light=False, newest="fastmcp")
SERVER = Path(__file__).parent / "servers" / "fastmcp_asking.py"
ERAS = ("handshake", "modern")

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120), pytest.mark.needs(FASTMCP)]


@pytest.fixture(scope="module", params=[None, *ERAS], ids=lambda era: f"server-{era or 'direct'}")
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bridge in front of a server of one era; without an era the server itself, which shows what is expected."""
    era: str | None = request.param
    with ExitStack() as stack:
        own = free_port()
        command = [FASTMCP.command, str(SERVER), str(own), era or "modern"]
        stack.enter_context(serving(command, port=own, environment=FASTMCP.environment))
        if era is None:
            yield f"http://127.0.0.1:{own}/mcp"
            return
        manual = {"name": "tea", "call_template_type": "mcp", "server_url": f"http://127.0.0.1:{own}/mcp"}
        bridge = {"naming": "short", "exposure": "all"}
        path = tmp_path_factory.mktemp("fastmcp") / "utcp.json"
        path.write_text(json.dumps({"manual_call_templates": [manual], "bridge": bridge}), encoding="utf-8")
        port = free_port()
        serve = [sys.executable, "-m", "utcp_bridge", "serve", path, "--http", "--port", str(port)]
        stack.enter_context(serving(serve, port=port))
        yield f"http://127.0.0.1:{port}/mcp"


class Person:
    """Answers what servers ask, and keeps what it heard."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.logs: list[tuple[str, Any]] = []

    async def elicit(self, _context: Any, params: Any) -> types.ElicitResult:
        self.asked.append(params.message)
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def sample(self, _context: Any, params: Any) -> types.CreateMessageResult:
        self.asked.append(params.messages[0].content.text)
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text="green"), model="small"
        )

    async def roots(self, _context: Any) -> types.ListRootsResult:
        self.asked.append("roots")
        return types.ListRootsResult(roots=[types.Root(uri="file:///srv/tea")])

    async def log(self, params: Any) -> None:
        self.logs.append((params.level, params.data))


@pytest.fixture(params=ERAS, ids=lambda era: f"client-{era}")
def era(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def connected(url: str, era: str, person: Person) -> Client:
    return Client(
        url,
        mode="legacy" if era == "handshake" else "auto",
        elicitation_callback=person.elicit,
        sampling_callback=person.sample,
        list_roots_callback=person.roots,
        logging_callback=person.log,
        log_level=None if era == "handshake" else "debug",
    )


def text(result: Any) -> str:
    assert not result.is_error, result
    return str(result.content[0].text)


async def test_a_form_is_shown_and_its_answer_arrives(url: str, era: str) -> None:
    person = Person()
    async with connected(url, era, person) as client:
        assert text(await client.call_tool("ask_name", {})) == "accept {'name': 'Ada'} name"
    assert person.asked == ["Your name?"]


async def test_the_model_of_the_host_is_asked(url: str, era: str) -> None:
    person = Person()
    async with connected(url, era, person) as client:
        assert text(await client.call_tool("ask_model", {})) == "small: green"
    assert person.asked == ["Which tea?"]


async def test_the_folders_of_the_host_are_listed(url: str, era: str) -> None:
    person = Person()
    async with connected(url, era, person) as client:
        assert text(await client.call_tool("ask_roots", {})) == "file:///srv/tea"
    assert person.asked == ["roots"]


@pytest.mark.filterwarnings("ignore:The logging capability is deprecated")
async def test_progress_and_log_messages_arrive_in_order(url: str, era: str) -> None:
    person, steps = Person(), []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        steps.append((done, total, message))

    async with connected(url, era, person) as client:
        if era == "handshake":
            await client.set_logging_level("debug")
        assert text(await client.call_tool("work", {}, progress_callback=progress)) == "done"
    assert steps == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]
    assert [words(data) for level, data in person.logs if level == "warning"] == ["log 1", "log 2", "log 3"]


def words(data: Any) -> str:
    """Return the message of a log entry: FastMCP writes an object."""
    return str(data.get("msg") if isinstance(data, dict) else data)


async def test_resources_and_templates_are_listed_and_read(url: str, era: str) -> None:
    async with connected(url, era, Person()) as client:
        listed = (await client.list_resources()).resources
        assert [(str(one.uri), one.name, one.mime_type, one.description) for one in listed] == [
            ("tea://menu", "menu", "text/plain", "The menu.")
        ]
        templates = (await client.list_resource_templates()).resource_templates
        assert [(one.uri_template, one.name) for one in templates] == [("tea://pots/{pot}", "pot")]
        assert (await client.read_resource("tea://menu")).contents[0].text == "green, black"
        assert (await client.read_resource("tea://pots/7")).contents[0].text == "pot 7"


async def test_prompts_are_listed_and_filled_in(url: str, era: str) -> None:
    async with connected(url, era, Person()) as client:
        listed = (await client.list_prompts()).prompts
        assert [(one.name, one.description, [a.name for a in one.arguments or ()]) for one in listed] == [
            ("recommend", "Recommend a tea.", ["taste"])
        ]
        filled = await client.get_prompt("recommend", {"taste": "mild"})
        assert filled.messages[0].content.text == "Recommend a tea that is mild."


async def test_the_instructions_of_the_server_are_read(url: str, era: str) -> None:
    async with connected(url, era, Person()) as client:
        assert "Ask for tea here." in (client.instructions or "")
