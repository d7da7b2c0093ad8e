"""The UTCP client."""
