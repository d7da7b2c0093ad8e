"""What the MCP face must do: id → where that comes from, and the behaviour in one sentence.

`proves` ties a test to requirements; test_requirements.py checks that every one has a test and every id exists.
"""

from __future__ import annotations

SPEC = "MCP specification, all served versions"
MODERN = "MCP specification 2026-07-28"
HOSTS = "limits of MCP hosts (docs/server.md)"
BRIDGE = "docs/server.md"

REQUIREMENTS: dict[str, tuple[str, str]] = {
    "list.paging": (SPEC, "tools/list gives every tool once, in pages, in the same order each time."),
    "list.names": (HOSTS, "Every listed name fits the portable pattern and is unique whatever its letter case."),
    "list.schemas": (HOSTS, "Every listed input schema is an object without combinators or odd keys at its root."),
    "list.isolation": (BRIDGE, "A tool with a broken schema neither hides nor breaks the others."),
    "list.stale": (SPEC, "A cursor that is not ours is answered with invalid params."),
    "list.by_client": (BRIDGE, "A client may be shown another list by the name it gives itself."),
    "list.changed": (SPEC, "Clients are told when the tools change, and then see the new ones."),
    "list.capability": (SPEC, "The server says that it announces changes."),
    "call.names": (BRIDGE, "A tool answers to its MCP name and to its UTCP name."),
    "call.keys": (HOSTS, "Arguments listed under another key reach the tool under its own."),
    "call.hostile": (BRIDGE, "Tools with hostile names can be called by the name that is listed."),
    "call.unknown": (SPEC, "An unknown tool is answered with invalid params."),
    "call.progress": (SPEC, "Partial results arrive as progress while the call runs."),
    "call.cancel": (SPEC, "A call that the client gives up is cancelled in the server."),
    "result.text": (BRIDGE, "A plain value arrives as text."),
    "result.structured": (SPEC, "A tool with an output schema gives structured content that fits it."),
    "result.unexpected": (BRIDGE, "A reply that does not fit its output schema still arrives whole."),
    "result.media": (SPEC, "Images, audio and other bytes arrive as content of their kind."),
    "result.blocks": (BRIDGE, "A malformed content block does not void the others."),
    "result.limit": (HOSTS, "A result above the limit is cut with a notice."),
    "error.refused": (BRIDGE, "An upstream refusal is an error result with status, body and remedy."),
    "error.arguments": (MODERN, "Wrong arguments are an error result that the model can act on."),
    "error.foreign": (BRIDGE, "An unforeseen exception shows none of its text."),
    "meta.search": (BRIDGE, "search_tools finds tools by what they do."),
    "meta.call": (BRIDGE, "call_tool calls a tool by name, and answers wrong arguments with the schema."),
    "server.instructions": (BRIDGE, "Instructions name the providers."),
    "stdio.pure": (SPEC, "stdout carries JSON-RPC alone, whatever prints or child processes write."),
    "stdio.eof": (SPEC, "The server ends when stdin closes, with calls in flight too."),
    "stdio.signal": (BRIDGE, "SIGTERM and SIGINT end the server in order, with calls in flight too."),
    "stdio.garbage": (SPEC, "A line that is no JSON-RPC does not end the session."),
    "stdio.files": (BRIDGE, "Input from a file and output to a file work."),
    "http.host": (SPEC, "A request for another host is refused."),
    "http.origin": (SPEC, "A request from a foreign browser origin is refused."),
    "http.cors": (BRIDGE, "A browser origin that the operator named may call."),
    "http.body": (BRIDGE, "A body above 4 MiB is refused."),
    "http.type": (SPEC, "A body of another type is refused."),
    "http.bearer": (BRIDGE, "Where a token is set, calls without it are refused."),
    "http.closed": (BRIDGE, "Beyond loopback the server starts only with a token or when told to be insecure."),
    "http.health": (BRIDGE, "Liveness and readiness can be probed without a token."),
    "http.blanks": (MODERN, "Blanks around header values do not matter."),
    "http.signal": (BRIDGE, "SIGTERM ends the server in order, with calls and streams open too."),
}


def proves(*ids: str):
    """Mark a test as the proof of requirements."""

    def mark(test):
        test.requirements = ids
        return test

    return mark
