"""Arguments that name files, and results that are written to files."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from tests.support.steps import Step, make_call, make_tool, run

from utcp_bridge.errors import InvalidArguments, PolicyError
from utcp_bridge.model import Binary, Call, ContentBlocks, JsonObject, Tool
from utcp_bridge.net.files.local_file import FileRoots
from utcp_bridge.pipeline.files import FileArguments, OutputPath, input_schema_of

pytestmark = pytest.mark.anyio

BASE64 = {"type": "string", "contentEncoding": "base64"}
UPLOAD = {
    "anyOf": [
        BASE64,
        {"type": "object", "properties": {"content": BASE64, "filename": {"type": "string"}, "media_type": {}}},
    ]
}
PNG = b"\x89PNG\r\n"
PNG64 = base64.b64encode(PNG).decode()


@pytest.fixture
def roots(tmp_path: Path) -> FileRoots:
    (tmp_path / "logo.png").write_bytes(PNG)
    (tmp_path / "page.html").write_bytes("<p>ä".encode())
    (tmp_path / "odd").write_bytes(b"\xfb\xff")
    return FileRoots([str(tmp_path)], base=tmp_path, max_bytes=20)


def fields(**properties: Any) -> JsonObject:
    return {"type": "object", "properties": properties}


async def received(roots: FileRoots, inputs: JsonObject, arguments: JsonObject) -> JsonObject:
    """What the next step gets."""
    step = Step()
    await run(FileArguments(roots)(make_tool(inputs=inputs), step), make_call(arguments=arguments))
    return step.calls[0].arguments


@pytest.mark.parametrize(
    ("schema", "given", "expected"),
    [
        (BASE64, "logo.png", PNG64),
        ({"type": "string", "format": "binary"}, "logo.png", PNG64),
        ({"type": "string", "format": "byte"}, "./odd", "+/8="),
        ({"type": "string", "contentEncoding": "base64url"}, "./odd", "-_8="),
        ({"type": "string", "contentMediaType": "text/html"}, "page.html", "<p>ä"),
        ({"type": "string", "contentMediaType": "image/png"}, "./odd", "+/8="),
        (UPLOAD, "logo.png", {"content": PNG64, "filename": "logo.png", "media_type": "image/png"}),
        (UPLOAD, "./odd", {"content": "+/8=", "filename": "odd"}),
        (UPLOAD, {"content": "logo.png", "filename": "x.png"}, {"content": PNG64, "filename": "x.png"}),
        ({"type": "array", "items": BASE64}, ["logo.png", "text"], [PNG64, "text"]),
        (fields(deep=fields(file=BASE64)), {"deep": {"file": "logo.png"}}, {"deep": {"file": PNG64}}),
        ({"oneOf": [{"type": "null"}, {"allOf": [BASE64]}]}, "logo.png", PNG64),
        ({"$ref": "#/$defs/file"}, "logo.png", PNG64),
    ],
)
async def test_the_name_of_a_file_becomes_its_content_where_bytes_are_expected(
    roots: FileRoots, schema: JsonObject, given: Any, expected: Any
) -> None:
    inputs = {**fields(a=schema, b={"type": "string"}), "$defs": {"file": BASE64}}
    got = await received(roots, inputs, {"a": given, "b": "logo.png"})
    assert got == {"a": expected, "b": "logo.png"}


async def test_arguments_without_names_of_files_pass_as_the_same_object(roots: FileRoots) -> None:
    arguments = {"a": {"file": PNG64}, "b": ["x", 1, None]}
    schema = fields(a=fields(file=BASE64), b={"type": "array", "items": BASE64})
    assert await received(roots, schema, arguments) is arguments


async def test_a_file_outside_the_folders_is_refused_and_nothing_is_sent(roots: FileRoots) -> None:
    step = Step()
    with pytest.raises(PolicyError):
        await run(FileArguments(roots)(make_tool(inputs=fields(a=BASE64)), step), make_call(arguments={"a": "../x"}))
    assert step.calls == []


async def test_the_files_of_a_call_share_one_limit(roots: FileRoots) -> None:
    arguments = {"a": ["logo.png"] * 4}
    with pytest.raises(InvalidArguments, match="more than 20 bytes together"):
        await received(roots, fields(a={"type": "array", "items": BASE64}), arguments)


def test_the_layers_leave_themselves_out_if_they_have_nothing_to_do(roots: FileRoots) -> None:
    step = Step()
    bytes_tool, text_tool = make_tool(inputs=fields(a=BASE64)), make_tool(inputs=fields(a={"type": "string"}))
    own = make_tool(inputs=fields(output_path={"type": "string"}))
    keywords = make_tool(inputs=fields(format={"type": "string"}, contentEncoding={"type": "string"}))
    assert FileArguments(roots)(keywords, step) is step
    assert FileArguments(None)(bytes_tool, step) is step
    assert FileArguments(roots)(text_tool, step) is step
    assert OutputPath(None)(text_tool, step) is step
    assert OutputPath(roots)(own, step) is step
    assert FileArguments(roots)(bytes_tool, step) is not step


async def written(roots: FileRoots, answer: Any, arguments: JsonObject) -> tuple[Any, Call]:
    """The result of a tool that returns `answer`, and the call that it got."""
    step = Step(answer)
    value = await run(OutputPath(roots)(make_tool(), step), make_call(arguments=arguments))
    return value, step.calls[0]


@pytest.mark.parametrize(
    ("answer", "data", "media_type"),
    [
        (Binary(PNG, "image/png"), PNG, "image/png"),
        ("grüße", "grüße".encode(), "text/plain; charset=utf-8"),
        (ContentBlocks([{"type": "image", "data": PNG64, "mimeType": "image/png"}]), PNG, "image/png"),
        (ContentBlocks([{"type": "resource", "resource": {"blob": PNG64}}]), PNG, "application/octet-stream"),
        (ContentBlocks([{"type": "resource", "resource": {"blob": ""}}]), b"", "application/octet-stream"),
        (ContentBlocks([{"type": "resource", "resource": {"text": "x", "mimeType": "text/csv"}}]), b"x", "text/csv"),
    ],
)
async def test_a_result_of_bytes_or_text_is_written_and_described(
    roots: FileRoots, tmp_path: Path, answer: Any, data: bytes, media_type: str
) -> None:
    value, call = await written(roots, answer, {"a": 1, "output_path": "out/result.bin"})
    path = tmp_path / "out" / "result.bin"
    assert value == {"path": str(path), "bytes": len(data), "media_type": media_type}
    assert path.read_bytes() == data
    assert call.arguments == {"a": 1}


@pytest.mark.parametrize(
    "answer",
    [
        {"rows": [1]},
        None,
        [Binary(PNG)],
        ContentBlocks([{"type": "text", "text": "x"}]),
        ContentBlocks([{"type": "image", "data": PNG64}], is_error=True),
        ContentBlocks([{"type": "image", "data": "no base64"}]),
        ContentBlocks([{"type": "resource", "resource": "odd"}]),
    ],
)
async def test_other_results_are_returned_and_nothing_is_written(roots: FileRoots, tmp_path: Path, answer: Any) -> None:
    value, _ = await written(roots, answer, {"output_path": "result.bin"})
    assert value is answer
    assert not (tmp_path / "result.bin").exists()


async def test_without_a_path_the_result_is_returned(roots: FileRoots) -> None:
    binary = Binary(PNG)
    for arguments in ({"a": 1}, {"a": 1, "output_path": None}):
        value, call = await written(roots, binary, arguments)
        assert value is binary
        assert call.arguments == {"a": 1}


@pytest.mark.parametrize(("path", "error"), [("../x", PolicyError), (5, InvalidArguments), ("", InvalidArguments)])
async def test_a_path_that_may_not_be_written_is_refused_before_the_call(
    roots: FileRoots, path: Any, error: type[Exception]
) -> None:
    step = Step(Binary(PNG))
    with pytest.raises(error):
        await run(OutputPath(roots)(make_tool(), step), make_call(arguments={"output_path": path}))
    assert step.calls == []


def listed(tool: Tool) -> JsonObject:
    properties: JsonObject = input_schema_of(tool).get("properties", {})
    return properties


def test_only_a_tool_that_returns_bytes_and_has_no_such_argument_lists_output_path() -> None:
    own = fields(output_path={"const": 1})
    assert list(listed(make_tool(inputs=fields(a={}), returns_bytes=True))) == ["a", "output_path"]
    assert list(listed(make_tool(inputs={"type": "object"}, returns_bytes=True))) == ["output_path"]
    assert list(listed(make_tool(inputs=fields(a={})))) == ["a"]
    assert input_schema_of(make_tool(inputs=own, returns_bytes=True)) is own


def test_arguments_of_bytes_say_that_they_may_be_paths_when_they_are_listed() -> None:
    tool = make_tool(inputs=fields(a=BASE64, b={**UPLOAD, "description": "A picture."}, c={"type": "string"}, d=True))
    hint = "May be the path of a file on this machine."
    assert listed(tool) == {
        "a": {**BASE64, "description": hint},
        "b": {**UPLOAD, "description": f"A picture. {hint}"},
        "c": {"type": "string"},
        "d": True,
    }
    assert "description" not in tool.inputs["properties"]["a"]
