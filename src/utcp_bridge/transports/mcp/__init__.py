"""The `mcp` transport: calls to tools of other MCP servers."""
