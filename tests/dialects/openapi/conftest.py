"""Documents of one operation, converted."""

import pytest

from utcp_bridge.dialects.openapi import ConversionOptions, convert

URL = "https://docs.example.com/specs/openapi.json"


def _document(operation, method, path, version, parts):
    document = {"info": {"title": "t", "version": "1"}, "paths": {path: {method: operation}}, **parts}
    if version == "2.0":
        return {"swagger": "2.0", "host": "api.example.com", "schemes": ["https"], **document}
    return {"openapi": version, "servers": [{"url": "https://api.example.com"}], **document}


@pytest.fixture
def conversion():
    """`conversion(operation, method=, path=, version=, url=, files=, options=, **document)` → Conversion."""

    def run(operation, *, method="get", path="/things", version="3.1.0", url=URL, files=None, options=None, **parts):
        document = _document(operation, method, path, version, parts)
        wanted = ConversionOptions(**(options or {}))
        return convert(document, url=url, options=wanted, files=files or {})

    return run


@pytest.fixture
def tool(conversion):
    """The one tool of such a document, as JSON."""
    return lambda *args, **kwargs: conversion(*args, **kwargs).tools[0].as_json()


@pytest.fixture
def properties(tool):
    """The properties of its input schema."""
    return lambda *args, **kwargs: tool(*args, **kwargs)["inputs"]["properties"]


@pytest.fixture
def translated(properties):
    """A schema as it comes out as a query parameter's."""

    def run(schema, version="3.0.3", **parts):
        parameter = {"name": "q", "in": "query", "schema": schema}
        return properties({"parameters": [parameter]}, version=version, **parts)["q"]

    return run
