"""An MCP server over stdio with the tools that the conformance suite's scenarios of tasks call (2026-07-28)."""

from __future__ import annotations

import json
import sys
import time
from typing import Any
from uuid import uuid4

TASKS = "io.modelcontextprotocol/tasks"
TOOLS = (
    "greet",
    "slow_compute",
    "failing_job",
    "protocol_error_job",
    "confirm_delete",
    "multi_input",
    "test_tool_with_task",
)
LISTED = {"ttlMs": 0, "cacheScope": "private"}
kept: dict[str, dict[str, Any]] = {}


class Refused(Exception):
    """A JSON-RPC error: its code, message and data."""


def text(said: str, *, is_error: bool = False) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}], "isError": is_error}


def question(message: str) -> dict[str, Any]:
    properties = {"confirm": {"type": "boolean"}, "name": {"type": "string"}}
    schema = {"type": "object", "properties": properties}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def began(tool: str, seconds: float = 0, **more: Any) -> dict[str, Any]:
    """Begin a task and return it as the result of its call."""
    ident = str(uuid4())
    kept[ident] = {"tool": tool, "ends": time.time() + seconds, "created": now(), "status": "working", **more}
    return {"resultType": "task", **described(ident)}


def described(ident: str) -> dict[str, Any]:
    task = kept[ident]
    times = {"createdAt": task["created"], "lastUpdatedAt": now(), "ttlMs": 60_000, "pollIntervalMs": 200}
    return {"taskId": ident, "status": task["status"], **times}


def found(params: dict[str, Any]) -> dict[str, Any]:
    """Return a task that has moved on to its present status."""
    task = kept.get(params["taskId"])
    if task is None:
        raise Refused(-32602, "Unknown task", None)
    if task.get("asks"):
        task["status"] = "input_required"
    elif task["status"] == "input_required" or (task["status"] == "working" and time.time() >= task["ends"]):
        task["status"] = "failed" if task["tool"] == "protocol_error_job" else "completed"
    return task


def on_discover(_params: dict[str, Any]) -> dict[str, Any]:
    return {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}, "extensions": {TASKS: {}}}, **LISTED}


def on_list(_params: dict[str, Any]) -> dict[str, Any]:
    kinds = {"name": "string", "filename": "string", "label": "string", "seconds": "number"}
    schema = {"type": "object", "properties": {name: {"type": kind} for name, kind in kinds.items()}}
    return {"tools": [{"name": name, "description": name, "inputSchema": schema} for name in TOOLS], **LISTED}


def on_call(params: dict[str, Any]) -> dict[str, Any]:
    tool, arguments = params["name"], params.get("arguments") or {}
    declared = (params.get("_meta") or {}).get("io.modelcontextprotocol/clientCapabilities") or {}
    if tool == "greet":
        return text(f"Hello, {arguments.get('name')}!")
    if TASKS not in (declared.get("extensions") or {}):
        raise Refused(-32021, "Missing capability", {"requiredCapabilities": {"extensions": {TASKS: {}}}})
    if tool == "test_tool_with_task":
        answers = params.get("inputResponses")
        if not answers:
            asked = {"user_name": question("Who are you?")}
            return {"resultType": "input_required", "inputRequests": asked, "requestState": "asked"}
        return began(tool, 1, says=json.dumps(answers))
    asks = {"confirm_delete": ["sure"], "multi_input": ["one", "two"]}.get(tool, [])
    seconds = arguments.get("seconds", 0) if tool == "slow_compute" else 0 if asks else 1
    return began(tool, seconds, asks={key: question(key) for key in asks})


def on_get(params: dict[str, Any]) -> dict[str, Any]:
    task = found(params)
    shown = described(params["taskId"])
    if task["status"] == "completed":
        is_error = task["tool"] == "failing_job"
        shown["result"] = text(task.get("says") or task["tool"], is_error=is_error)
    if task["status"] == "failed":
        shown["error"] = {"code": -32603, "message": "The job fell over."}
    if task["status"] == "input_required":
        shown["inputRequests"] = dict(task["asks"])
    return shown


def on_cancel(params: dict[str, Any]) -> dict[str, Any]:
    task = found(params)
    if task["status"] in {"working", "input_required"}:
        task |= {"status": "cancelled", "asks": {}}
    return {}


def on_update(params: dict[str, Any]) -> dict[str, Any]:
    task = found(params)
    for key in params["inputResponses"]:
        task["asks"].pop(key, None)
    return {}


HANDLERS = {
    "server/discover": on_discover,
    "tools/list": on_list,
    "tools/call": on_call,
    "tasks/get": on_get,
    "tasks/cancel": on_cancel,
    "tasks/update": on_update,
}


def reply_to(message: dict[str, Any]) -> dict[str, Any]:
    """Return the result or the error of a request."""
    handler = HANDLERS.get(message["method"])
    if handler is None:
        return {"error": {"code": -32601, "message": "Method not found"}}
    try:
        return {"result": {"resultType": "complete", **handler(message.get("params") or {})}}
    except Refused as refused:
        code, words, data = refused.args
        return {"error": {"code": code, "message": words, "data": data}}


if __name__ == "__main__":
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request and "method" in request:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], **reply_to(request)}) + "\n")
            sys.stdout.flush()
