"""Requirements of the MCP server: id → the source, and the behaviour in one sentence.

`proves` marks a test with its requirements. test_requirements.py checks that each one has a test and each id exists.
"""

from __future__ import annotations

SPEC = "MCP specification, all served versions"
MODERN = "MCP specification 2026-07-28"
HOSTS = "limits of MCP hosts (docs/server.md)"
BRIDGE = "docs/server.md"

REQUIREMENTS: dict[str, tuple[str, str]] = {
    "list.paging": (SPEC, "tools/list returns every tool once, in pages, in a stable order."),
    "list.names": (
        HOSTS,
        "Every listed name matches the portable pattern and is unique without regard to letter case.",
    ),
    "list.schemas": (HOSTS, "Every listed input schema is an object without combinators or unusual keys at its root."),
    "list.isolation": (BRIDGE, "A tool with a broken schema neither hides nor breaks the others."),
    "list.stale": (SPEC, "A malformed cursor is an invalid params error."),
    "list.by_client": (BRIDGE, "The operator can set another exposure for a client by its name."),
    "list.changed": (SPEC, "The server notifies clients when the tools change, and then lists the new ones."),
    "list.capability": (SPEC, "The server declares that it announces changes."),
    "call.names": (BRIDGE, "A tool can be called by its MCP name and by its UTCP name."),
    "call.keys": (HOSTS, "Arguments listed under another key reach the tool under its own key."),
    "call.hostile": (BRIDGE, "Tools with hostile names can be called by the name that is listed."),
    "call.unknown": (SPEC, "An unknown tool is an invalid params error."),
    "call.progress": (SPEC, "Partial results arrive as progress while the call runs."),
    "call.cancel": (SPEC, "The server cancels a call that the client cancels."),
    "result.text": (BRIDGE, "A plain value arrives as text."),
    "result.structured": (SPEC, "A tool with an output schema returns structured content that fits it."),
    "result.unexpected": (BRIDGE, "A reply that does not fit its output schema still arrives whole."),
    "result.media": (SPEC, "Images, audio and other bytes arrive as content of their kind."),
    "result.blocks": (BRIDGE, "A malformed content block leaves the others intact."),
    "result.limit": (HOSTS, "A result above the limit is cut with a notice."),
    "error.refused": (BRIDGE, "An upstream refusal is an error result with status, body and remedy."),
    "error.arguments": (MODERN, "Wrong arguments are an error result that the model can act on."),
    "error.foreign": (BRIDGE, "An unexpected exception does not show its text."),
    "meta.search": (BRIDGE, "search_tools finds tools by what they do."),
    "meta.call": (BRIDGE, "call_tool calls a tool by name, and returns the schema for wrong arguments."),
    "server.instructions": (BRIDGE, "Instructions name the providers."),
    "stdio.pure": (SPEC, "stdout carries JSON-RPC alone, also if code prints or child processes write."),
    "stdio.eof": (SPEC, "The server ends when stdin closes, also with calls in flight."),
    "stdio.signal": (BRIDGE, "SIGTERM and SIGINT end the server cleanly, also with calls in flight."),
    "stdio.garbage": (SPEC, "A line that is not JSON-RPC does not end the session."),
    "stdio.files": (BRIDGE, "Input from a file and output to a file work."),
    "http.host": (SPEC, "A request for another host is refused."),
    "http.origin": (SPEC, "A request from a foreign browser origin is refused."),
    "http.cors": (BRIDGE, "A browser origin that the operator named may call."),
    "http.body": (BRIDGE, "A body above 4 MiB is refused."),
    "http.type": (SPEC, "A body of another type is refused."),
    "http.bearer": (BRIDGE, "If a token is set, calls without it are refused."),
    "http.closed": (BRIDGE, "Beyond loopback the server starts only with a token or with `insecure`."),
    "http.health": (BRIDGE, "Liveness and readiness can be probed without a token."),
    "http.blanks": (MODERN, "Blanks around header values do not matter."),
    "http.resume": (SPEC, "A client that resumes an event stream gets one, whatever its Last-Event-ID is."),
    "http.leaving": (BRIDGE, "A client that leaves in the middle of a request is nothing to log."),
    "http.signal": (BRIDGE, "SIGTERM ends the server cleanly, also with open calls and streams."),
}


def proves(*ids: str):
    """Mark a test with the requirements that it proves."""

    def mark(test):
        test.requirements = ids
        return test

    return mark
