"""The `cli` transport: local commands."""
