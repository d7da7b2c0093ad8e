"""A call template type of your own: `clock` tells the time of a time zone, without a service."""

import asyncio
from datetime import datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from utcp_bridge import Extensions, UtcpClient
from utcp_bridge.errors import Rejected
from utcp_bridge.transport import Call, CallTemplate, Document, Emit, Target, Transport


class ClockTemplate(CallTemplate):
    """`zone` is the default time zone."""

    zone: str = "UTC"


class ClockTransport(Transport[ClockTemplate]):
    """Tells the time."""

    kinds: ClassVar[tuple[str, ...]] = ("clock",)
    template = ClockTemplate

    async def discover(self, target: Target[ClockTemplate]) -> Document:
        """Return the tools of a manual: one."""
        zone = {"type": "string", "description": f"A time zone, by default {target.template.zone}."}
        inputs = {"type": "object", "properties": {"zone": zone}}
        return Document({"tools": [{"name": "now", "description": "The time.", "inputs": inputs}]}, generated=True)

    async def call(self, target: Target[ClockTemplate], call: Call, emit: Emit) -> Any:
        """Return the time. A transport that streams would `await emit(part)`."""
        zone = call.arguments.get("zone", target.template.zone)
        try:
            return datetime.now(ZoneInfo(zone)).isoformat(timespec="seconds")
        except (KeyError, ValueError):
            raise Rejected(f"{zone!r} must be the name of a time zone.", status="unknown_zone") from None


async def main() -> None:
    config = {"manual_call_templates": [{"name": "clock", "call_template_type": "clock", "zone": "UTC"}]}
    async with await UtcpClient.create(config, extensions=Extensions(transports=(ClockTransport,))) as client:
        print(await client.call_tool("clock.now"))


if __name__ == "__main__":
    asyncio.run(main())
