"""The hot front: requests that every host sends all the time, answered ahead of the MCP SDK on both transports."""
