"""The front over stdio that works until a message needs the MCP SDK, which is imported only then."""
