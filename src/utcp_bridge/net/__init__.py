"""Connections that leave the process or come in: the guard, HTTP, streams, local files."""
