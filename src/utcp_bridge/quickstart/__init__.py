"""A small sample service with a dozen useful tools, to try the bridge without a service of your own.

One HTTP server on loopback describes itself in three ways, as real services do: by an OpenAPI description, a UTCP v1
manual and a v0 manual. A fourth manual is a local file.
"""
