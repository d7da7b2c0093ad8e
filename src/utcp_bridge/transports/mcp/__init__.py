"""The `mcp` transport."""
