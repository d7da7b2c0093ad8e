"""An MCP server over stdio that sends many questions at once, with the ids that its caller names: `python -m …`.

The tool `ask` takes `ids` and `refused`. It returns as soon as `refused` of its questions were refused; the others stay
open until then. The result is the number of refusals.
"""

import json
import sys


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def ask(ids, refused):
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    for ident in ids:
        send({"id": ident, "method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": schema}})
    count = 0
    while count < refused:
        count += "error" in json.loads(sys.stdin.readline())
    return {"content": [{"type": "text", "text": str(count)}]}


def answer(method, params):
    if method == "initialize":
        info = {"name": "flood", "version": "1"}
        return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": [{"name": "ask", "inputSchema": {"type": "object"}}]}
    return ask(**params["arguments"]) if method == "tools/call" else None


def main():
    for line in iter(sys.stdin.readline, ""):
        message = json.loads(line)
        if "method" not in message or "id" not in message:
            continue
        result = answer(message["method"], message.get("params"))
        unknown = {"error": {"code": -32601, "message": "Unknown method."}}
        send({"id": message["id"], **(unknown if result is None else {"result": result})})


if __name__ == "__main__":
    main()
