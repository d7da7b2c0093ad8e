"""What server code shares that needs no MCP SDK: lines of standard input and output, and the words of MCP."""
