"""A small sample service with a dozen useful tools, to try the bridge without any service of one's own.

One HTTP server on loopback describes itself in three ways, as services in the wild do: an OpenAPI description, a
UTCP v1 manual and a v0 manual; a fourth manual is a local file.
"""
