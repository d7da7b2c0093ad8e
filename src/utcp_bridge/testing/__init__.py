"""Help for tests of programs that use UTCP tools, and of transports.

For programs that call tools:

* `serve_tools(function, ...)` runs a real UTCP upstream of Python functions on 127.0.0.1;
* `fake_client({"manual.tool": result, ...})` opens a real client whose tools return canned results, and `FakeTools`
  holds them for a `SyncUtcpClient`;
* `record_calls(client)` records what is called through a client: names, arguments, results, errors.

For authors of transports, `utcp_bridge.testing.contract` is the suite that every transport of this project passes, and
`utcp_bridge.testing.plugin` its pytest plugin. Both need pytest: `pip install 'utcp-bridge[testing]'`.
"""

from utcp_bridge.testing.doubles import (
    FakeTools,
    RecordedCall,
    ToolUpstream,
    fake_client,
    record_calls,
    serve_tools,
)

__all__ = ["FakeTools", "RecordedCall", "ToolUpstream", "fake_client", "record_calls", "serve_tools"]
