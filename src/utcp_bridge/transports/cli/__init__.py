"""The `cli` transport."""
