"""Python functions, or the routes of a FastAPI application, as tools that any UTCP client finds at `/utcp`.

    tools = ToolServer()

    @tools.tool(tags=["weather"])
    async def get_forecast(city: str, days: int = 3) -> Forecast:
        "The weather of the next days."

`tools.app()` is an ASGI application, `tools.add_to(app)` adds the routes to a Starlette or FastAPI application, and
`add_manual(app)` makes tools of the routes that a FastAPI application has.
"""

from utcp_bridge.providing.manuals import add_manual
from utcp_bridge.providing.tool_server import ToolServer

__all__ = ["ToolServer", "add_manual"]
