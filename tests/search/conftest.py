"""Tools for the search tests."""

from collections.abc import Callable, Iterator

import pytest

from utcp_bridge.model import Source, Tool
from utcp_bridge.search import index


@pytest.fixture(scope="session")
def make_tool() -> Callable[..., Tool]:
    """`make_tool("mail.send_email", "Sends a message.", inputs={…}, tags=(…))`"""

    def make(qualified_name: str, description: str = "", **members) -> Tool:
        manual, _, name = qualified_name.partition(".")
        return Tool(source=Source(manual), name=name, kind="http", template={}, description=description, **members)

    return make


@pytest.fixture
def mail_tools(make_tool) -> list[Tool]:
    """A small catalogue of three providers."""
    text = {"type": "string"}
    return [
        make_tool(
            "mail.send_email",
            "Sends a message to a recipient.",
            inputs={"type": "object", "properties": {"to": text, "subject": text}, "required": ["to"]},
            tags=("Messaging", "write"),
        ),
        make_tool("mail.list_inbox", "Lists received messages.", tags=("messaging",)),
        make_tool("weather.get_forecast", "Gets the weather forecast for a city.", tags=("climate",)),
        make_tool("weather.get_alerts", "Severe weather alerts of a region."),
        make_tool("files.readFile", "Reads a file from disk.", title="Read a file"),
    ]


@pytest.fixture(scope="module")
def eager_pruning() -> Iterator[None]:
    """Lets pruning begin at lists of any length, so that small examples reach it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "_SHORT_LIST", 0)
        yield


@pytest.fixture(scope="session")
def mail_tools_of_session(make_tool) -> list[Tool]:
    """Five tools that share words, for tests that run many examples."""
    return [
        make_tool("mail.send", "Send mail."),
        make_tool("mail.find", "Find mail by sender."),
        make_tool("weather.send", "Send the weather."),
        make_tool("weather.find", "Find the weather."),
        make_tool("files.find", "Find files.", tags=("mail",)),
    ]
