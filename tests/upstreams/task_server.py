"""An MCP server over stdio whose tools run as tasks: `python task_server.py legacy|modern`.

A task moves on by one step with each `tasks/get`. The tool `seen` returns what the server has received.
"""

from __future__ import annotations

import json
import sys
from typing import Any

TASKS = "io.modelcontextprotocol/tasks"
STEPS = 3
WHO = {"mode": "form", "message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}
REQUIRED = ("slow", "fail", "broken", "cancelled", "endless", "ask", "insist", "odd")


class Refused(Exception):
    """A JSON-RPC error."""


class TaskServer:
    """One connection."""

    def __init__(self, era: str) -> None:
        self.is_modern = era == "modern"
        self.seen: list[str] = []
        self.tasks: dict[str, dict[str, Any]] = {}

    def serve(self) -> None:
        """Answer each line of stdin."""
        for line in sys.stdin:
            message = json.loads(line)
            if "id" not in message or "method" not in message:
                self.seen.append(str(message.get("method")))
                continue
            reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
            try:
                result = self.answer(message["method"], message.get("params") or {})
                reply["result"] = {"resultType": "complete", **result} if self.is_modern else result
            except Refused as refused:
                code, text = refused.args
                reply["error"] = {"code": code, "message": text}
            self.write(reply)

    @staticmethod
    def write(message: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return the result of a request."""
        self.seen.append(method)
        handler = getattr(self, "on_" + method.replace("/", "_"), None)
        if handler is None:
            raise Refused(-32601, f"Method not found: {method}")
        result: dict[str, Any] = handler(params)
        return result

    def on_server_discover(self, _params: dict[str, Any]) -> dict[str, Any]:
        if not self.is_modern:
            raise Refused(-32601, "Method not found")
        return {
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}, "extensions": {TASKS: {}}},
            "ttlMs": 0,
            "cacheScope": "private",
        }

    def on_ping(self, _params: dict[str, Any]) -> dict[str, Any]:
        if self.is_modern:
            raise Refused(-32601, "Method not found")
        return {}

    def on_initialize(self, params: dict[str, Any]) -> dict[str, Any]:
        tasks: dict[str, Any] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}, "tasks": tasks},
            "serverInfo": {"name": "tasks", "version": "1"},
        }

    def on_tools_list(self, _params: dict[str, Any]) -> dict[str, Any]:
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("seen", *REQUIRED)]
        for tool in [] if self.is_modern else tools[1:]:
            tool["execution"] = {"taskSupport": "required"}
        return {"tools": tools, **({"ttlMs": 0, "cacheScope": "private"} if self.is_modern else {})}

    def on_tools_call(self, params: dict[str, Any]) -> dict[str, Any]:
        name = params["name"]
        if name == "seen":
            return self.text(" ".join(self.seen))
        meta = params.get("_meta") or {}
        declared = meta.get("io.modelcontextprotocol/clientCapabilities") or {}
        if self.is_modern and TASKS not in (declared.get("extensions") or {}):
            raise Refused(-32021, "Missing capability")
        if not self.is_modern and "task" not in params:
            raise Refused(-32601, "This tool only runs as a task.")
        ident = f"task-{len(self.tasks)}"
        self.tasks[ident] = {"name": name, "step": 0, "token": meta.get("progressToken"), "status": "working"}
        shown = self.shown(ident)
        return {"resultType": "task", **shown} if self.is_modern else {"task": shown}

    def shown(self, ident: str) -> dict[str, Any]:
        task = self.tasks[ident]
        kept, pause = ("ttlMs", "pollIntervalMs") if self.is_modern else ("ttl", "pollInterval")
        shown = {"taskId": ident, "status": task["status"], "createdAt": "2026-07-28T00:00:00Z"}
        shown |= {"lastUpdatedAt": "2026-07-28T00:00:00Z", kept: 60_000, pause: 50}
        return {**shown, "statusMessage": f"step {task['step']}"}

    def on_tasks_get(self, params: dict[str, Any]) -> dict[str, Any]:
        task = self.task(params)
        if task["status"] == "working":
            task["step"] += 1
            if task["token"] is not None:
                progress = {"progressToken": task["token"], "progress": task["step"] * 10, "message": "progress"}
                self.write({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
            if task["step"] >= STEPS:
                self.end(task)
        shown = self.shown(params["taskId"])
        if task["name"] == "odd":
            return {"taskId": params["taskId"], "status": "dancing"}
        if not self.is_modern:
            return shown
        if task["status"] == "completed":
            shown["result"] = self.result(task)
        if task["status"] == "failed":
            shown["error"] = {"code": -32050, "message": "out of paper"}
        if task["status"] == "input_required":
            shown["inputRequests"] = {"who": {"method": "elicitation/create", "params": WHO}}
        return shown

    def end(self, task: dict[str, Any]) -> None:
        ends = {"fail": "completed", "broken": "failed", "cancelled": "cancelled", "endless": "working"}
        task["status"] = ends.get(task["name"], "completed")
        if task["name"] in {"ask", "insist"} and "answer" not in task:
            task["status"] = "input_required"

    def result(self, task: dict[str, Any]) -> dict[str, Any]:
        if task["name"] == "broken":
            raise Refused(-32050, "out of paper")
        return {**self.text(f"{task['name']} done {task.get('answer', '')}".strip()), "isError": task["name"] == "fail"}

    def on_tasks_result(self, params: dict[str, Any]) -> dict[str, Any]:
        if self.is_modern:
            raise Refused(-32601, "Method not found")
        task = self.task(params)
        if task["status"] == "input_required":
            self.write({"jsonrpc": "2.0", "id": "who", "method": "elicitation/create", "params": WHO})
            for line in sys.stdin:
                message = json.loads(line)
                if message.get("id") == "who":
                    if task["name"] == "insist" and "error" in message:
                        raise Refused(-32603, "It still needs an answer.")
                    task["answer"] = json.dumps(message.get("result") or message.get("error"))
                    break
        return self.result(task)

    def on_tasks_update(self, params: dict[str, Any]) -> dict[str, Any]:
        task = self.task(params)
        task["answer"] = json.dumps(params["inputResponses"])
        task["status"] = "working"
        return {}

    def on_tasks_cancel(self, params: dict[str, Any]) -> dict[str, Any]:
        self.task(params)["status"] = "cancelled"
        return {} if self.is_modern else self.shown(params["taskId"])

    def task(self, params: dict[str, Any]) -> dict[str, Any]:
        if params["taskId"] not in self.tasks:
            raise Refused(-32602, "Unknown task")
        return self.tasks[params["taskId"]]

    @staticmethod
    def text(text: str) -> dict[str, Any]:
        return {"content": [{"type": "text", "text": text}]}


if __name__ == "__main__":
    TaskServer(sys.argv[1]).serve()
