"""The transport that docs/transports/index.md shows works as it stands there, installed as a package."""

import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from utcp_bridge import UtcpClient
from utcp_bridge.errors import Rejected
from utcp_bridge.transports import registry as transport_registry

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "transports" / "index.md"


async def test_the_example_is_found_by_its_entry_point_discovered_and_called(monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) <= 48
    module = ModuleType("carrier_example")
    monkeypatch.setitem(sys.modules, "carrier_example", module)
    exec(compile(code[1], str(PAGE), "exec"), module.__dict__)
    entry = EntryPoint("carrier", "carrier_example:CarrierTransport", transport_registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(transport_registry, "entry_points", lambda *, group: [entry] if group else [])
    config = [{"name": "text", "call_template_type": "carrier", "function": "textwrap:shorten"}]
    async with await UtcpClient.create(config) as client:
        assert client.report()[0].faults == []
        assert await client.call_tool("text.shorten", {"text": "one two three", "width": 9}) == "one [...]"
        with pytest.raises(Rejected, match="refused"):
            await client.call_tool("text.shorten", {"nonsense": 1})
