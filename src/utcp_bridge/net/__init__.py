"""Every connection that leaves the process or comes in: the address gate, HTTP, streams, local files."""
