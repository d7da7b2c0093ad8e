import pytest

from utcp_bridge.dialects.openapi import ConversionOptions, convert, operations
from utcp_bridge.errors import ManualError


def document(count):
    return {
        "openapi": "3.1.0",
        "servers": [{"url": "https://a.example.com"}],
        "paths": {f"/p{n}": {"get": {}} for n in range(count)},
    }


@pytest.mark.parametrize("content", [{}, {"openapi": "5"}, {"tools": []}])
def test_a_document_that_is_not_openapi_is_refused(content):
    with pytest.raises(ManualError, match="OpenAPI"):
        convert(content, url=None, options=ConversionOptions())


def test_a_document_without_operations_has_info_and_no_tools(conversion):
    made = conversion({}, paths={}, info={"title": "T", "version": "2"})
    assert (made.tools, made.faults) == ([], [])
    assert made.info == {"title": "T", "version": "2", "openapi": "3.1.0"}
    assert conversion({}, paths="odd").tools == []


def test_include_exclude_and_hidden_select_operations(conversion):
    paths = {
        "/a": {"get": {"operationId": "getA", "tags": ["x"]}, "post": {"operationId": "postA"}},
        "/b": {"get": {"operationId": "getB"}},
    }

    def names(**options):
        return [tool.name for tool in conversion({}, paths=paths, options=options).tools]

    assert names(include={"tags": ["X"]}) == ["getA"]
    assert names(exclude={"methods": ["get"]}) == ["postA"]
    assert names(include={"paths": ["/a"], "methods": ["POST"]}) == ["postA"]
    assert names(overrides={"getA": {"hidden": True}}) == ["postA", "getB"]


def test_many_operations_are_a_warning_and_too_many_an_error():
    made = convert(document(301), url=None, options=ConversionOptions())
    assert (len(made.tools), made.faults[0].severity) == (301, "warning")
    made = convert(document(9), url=None, options=ConversionOptions(max_operations=5))
    assert (len(made.tools), made.faults[0].severity) == (5, "error")


def test_one_unreadable_operation_leaves_the_others_unaffected(monkeypatch):
    read = operations.OperationReader.read

    def odd(self, method, path, *rest):
        if path == "/p1":
            raise KeyError(path)
        return read(self, method, path, *rest)

    monkeypatch.setattr(operations.OperationReader, "read", odd)
    made = convert(document(3), url=None, options=ConversionOptions())
    assert [tool.name for tool in made.tools] == ["get_p0", "get_p2"]
    assert [(fault.where, fault.severity) for fault in made.faults] == [("#/paths/~1p1/get", "error")]


def test_conversion_does_not_change_the_document(conversion):
    schema = {"allOf": [{"$ref": "#/components/schemas/A"}], "nullable": True}
    operation = {"requestBody": {"content": {"application/json": {"schema": schema}}}}
    components = {"schemas": {"A": {"type": "object", "properties": {"x": {"type": "string", "nullable": True}}}}}
    before = (repr(operation), repr(components))
    first = conversion(operation, method="post", components=components)
    assert (repr(operation), repr(components)) == before
    assert conversion(operation, method="post", components=components) == first
