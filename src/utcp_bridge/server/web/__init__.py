"""What the HTTP server is besides MCP: its listener, its doors, its documents and its metrics."""
