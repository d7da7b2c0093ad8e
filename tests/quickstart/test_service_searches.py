"""The searches that the project itself shows for the quickstart find the right tool first."""

import re
from pathlib import Path

import pytest
from scripts.tour import SEARCHES

from utcp_bridge.client.client import UtcpClient
from utcp_bridge.quickstart.service import FOLDER, configuration, serving

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
SHOWN = re.compile(r"search --quickstart \"([^\"]+)\"")
RIGHT = {
    "how many words": "desk.text_statistics",
    "how many words has this text": "desk.text_statistics",
    "difference between two dates": "calendar.days_between",
    "weekdays between two dates": "calendar.days_between",
}


def shown():
    """Return the searches that pages, help texts and the tour show."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src/utcp_bridge/cli").rglob("*.py")]
    found = (query for path in paths for query in SHOWN.findall(path.read_text(encoding="utf-8")))
    return {*found, *SEARCHES}


async def test_the_searches_for_the_quickstart_find_the_right_tool_first():
    async with serving() as places, await UtcpClient.create(configuration(places), root=FOLDER) as client:
        best = {query: client.search(query)[0].tool.qualified_name for query in shown()}
    assert best == {query: RIGHT.get(query, "add this search to the test") for query in best}
    assert len(best) >= 3
