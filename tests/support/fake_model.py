"""A language model behind OpenAI's chat completions: it calls one tool, and then repeats what the tool returned."""

from __future__ import annotations

import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["FakeModel"]


class FakeModel:
    """`app` serves it at /v1. It calls the tool whose name has `tool` in it, once, with `arguments`."""

    def __init__(self, tool: str, arguments: dict[str, Any]) -> None:
        self.tool = tool
        self.arguments = arguments
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.app = Starlette(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])])

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.keys.append(request.headers.get("authorization", ""))
        last = body["messages"][-1]
        if last["role"] == "tool":
            return _reply({"role": "assistant", "content": f"The tool says: {last['content']}"}, "stop")
        [name] = [one["function"]["name"] for one in body["tools"] if self.tool in one["function"]["name"]]
        function = {"name": name, "arguments": json.dumps(self.arguments)}
        calls = [{"id": "call_1", "type": "function", "function": function}]
        return _reply({"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls")


def _reply(message: dict[str, Any], reason: str) -> Response:
    choice = {"index": 0, "message": message, "finish_reason": reason}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    head = {"id": "c1", "object": "chat.completion", "created": 1, "model": "fake"}
    return JSONResponse({**head, "choices": [choice], "usage": usage})
