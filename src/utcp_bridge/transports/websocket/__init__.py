"""The `websocket` transport."""
