"""Arguments out of real requests.

Values and errors as answers.
"""

import json
import logging

import anyio
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.upstreams.registry_service import served

from utcp_bridge.errors import (
    Busy,
    CircuitOpen,
    ConfigError,
    DeadlineExceeded,
    InvalidArguments,
    PolicyError,
    Rejected,
    UnknownTool,
    Unreachable,
)
from utcp_bridge.model import Binary, ContentBlocks, Result
from utcp_bridge.providing.exchange import Lines, UnreadableBody, answer, problem, read_arguments, unless_gone

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "code": {"type": ["string", "null"]},
        "days": {"type": "integer"},
        "exact": {"type": "boolean"},
        "hours": {"type": "array", "items": {"type": "integer"}},
        "names": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
        "place": {"type": "object"},
        "whatever": {},
    },
}


async def echo(request):
    try:
        return JSONResponse(await read_arguments(request, SCHEMA))
    except UnreadableBody as error:
        return JSONResponse({"error": str(error)}, status_code=error.status)


@pytest.fixture(scope="module")
def url():
    with served(Starlette(routes=[Route("/", echo, methods=["POST"])])) as base:
        yield base


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("city=10115&code=7", {"city": "10115", "code": "7"}),
        ("days=3&exact=True", {"days": 3, "exact": True}),
        ("exact=false", {"exact": False}),
        ("hours=1&hours=2", {"hours": [1, 2]}),
        ("hours=1", {"hours": [1]}),
        ("hours=%5B1%2C2%5D", {"hours": [1, 2]}),
        ("names=a&names=b", {"names": ["a", "b"]}),
        ("place=%7B%22lat%22%3A1%7D", {"place": {"lat": 1}}),
        ("whatever=3&new=4", {"whatever": "3", "new": "4"}),
        ("days=soon", {"days": "soon"}),
        ("city=a&city=b", {"city": "b"}),
    ],
)
def test_query_arguments_are_converted_by_the_schema(url, query, arguments):
    assert httpx2.post(f"{url}/?{query}").json() == arguments


def test_the_body_is_unchanged_and_wins_over_the_query(url):
    body = {"city": "Oslo", "days": 2.5, "more": None}
    assert httpx2.post(f"{url}/?city=Rome&exact=true", json=body).json() == {**body, "exact": True}


def test_the_body_may_be_an_object_in_a_json_text(url):
    assert httpx2.post(url, json='{"city": "Oslo"}').json() == {"city": "Oslo"}


@pytest.mark.parametrize(
    ("body", "media_type", "status", "reported"),
    [
        (b'{"city":', "application/json", 400, "not JSON"),
        (b"[1]", "application/json", 400, "must be a JSON object"),
        (b'{"city": "Oslo"}', "text/plain", 415, "Content-Type: application/json"),
        (b'{"city": "' + b"x" * (4 << 20) + b'"}', "application/json", 413, "4 MiB"),
    ],
)
def test_an_unreadable_body_is_refused(url, body, media_type, status, reported):
    answer = httpx2.post(url, content=body, headers={"Content-Type": media_type})
    assert answer.status_code == status
    assert reported in answer.json()["error"]


pytestmark = pytest.mark.anyio
TEXT = ContentBlocks([{"type": "text", "text": "hello"}])
TWO = ContentBlocks([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])


@pytest.mark.parametrize(
    ("value", "body", "media_type"),
    [
        ({"a": [1, None]}, b'{"a":[1,null]}', "application/json"),
        (None, b"null", "application/json"),
        ("123", b"123", "text/plain; charset=utf-8"),
        (Binary(b"\x00\x01", "image/png"), b"\x00\x01", "image/png"),
        ([Binary(b"\x00", "image/png")], b'[{"mimeType":"image/png","blob":"AA=="}]', "application/json"),
        (TEXT, b"hello", "text/plain; charset=utf-8"),
        (ContentBlocks(TEXT.content, structured={"n": 1}), b'{"n":1}', "application/json"),
        (TWO, json.dumps({"content": TWO.content}, separators=(",", ":")).encode(), "application/json"),
    ],
)
def test_a_value_is_returned_in_its_own_form(value, body, media_type):
    response = answer(value)
    assert (response.status_code, response.body, response.headers["content-type"]) == (200, body, media_type)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidArguments("No."), 400, "invalid_arguments"),
        (UnknownTool("No."), 404, "unknown_tool"),
        (PolicyError("No."), 403, "policy"),
        (ConfigError("No."), 500, "config"),
        (Busy("No."), 429, "busy"),
        (DeadlineExceeded("No."), 504, "deadline_exceeded"),
        (Unreachable("No.", remedy="Start it."), 502, "unreachable"),
    ],
)
def test_an_error_is_a_problem_with_the_status_of_its_class(error, status, code):
    response = problem(error)
    reported = json.loads(response.body)
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, reported["status"], reported["code"], reported["detail"]) == (
        status,
        status,
        code,
        str(error),
    )


def test_a_problem_contains_the_upstreams_status_and_detail():
    response = problem(Rejected("It says no.", status=429, detail={"why": "quota"}, retry_after=7.4))
    reported = json.loads(response.body)
    assert (reported["upstream_status"], reported["upstream_detail"]) == (429, {"why": "quota"})
    assert response.headers["retry-after"] == "8"


def test_an_upstream_that_is_left_alone_is_unavailable_for_a_while():
    response = problem(CircuitOpen("shop failed.", retry_after=2.5))
    assert (response.status_code, response.headers["retry-after"]) == (503, "3")


def test_a_truncated_result_has_a_header():
    response = answer(Result(["a"], truncated="ended at 1\r\nof many… enough"))
    assert (response.body, response.headers["x-truncated"]) == (b'["a"]', "ended at 1 of many? enough")
    assert "x-truncated" not in answer(Result("whole")).headers


def test_the_error_of_an_mcp_server_is_a_problem():
    response = answer(ContentBlocks(TEXT.content, is_error=True))
    assert response.status_code == 502
    assert json.loads(response.body)["upstream_detail"] == "hello"


def test_an_internal_error_shows_only_the_id_of_its_log_line(caplog):
    with caplog.at_level(logging.ERROR):
        response = problem(RuntimeError("password=hunter2"))
    reported = json.loads(response.body)
    assert response.status_code == 500
    assert "hunter2" not in response.body.decode() + caplog.text
    assert reported["detail"].rsplit(" ", 1)[1].rstrip(".") in caplog.text


async def sent(response, receive=anyio.sleep_forever):
    """The messages of an ASGI response."""
    messages = []

    async def send(message):
        messages.append(message)

    await response({"type": "http"}, receive, send)
    return messages


async def test_a_stream_is_one_line_for_each_value():
    async def produce(emit):
        for value in ({"n": 1}, "two", TEXT):
            await emit(value)

    start, *bodies = await sent(Lines(produce))
    assert (b"content-type", b"application/x-ndjson") in start["headers"]
    assert b"".join(message["body"] for message in bodies) == b'{"n":1}\n"two"\n"hello"\n'
    assert [message.get("more_body", False) for message in bodies] == [True, True, True, False]


async def test_an_empty_stream_is_an_empty_response():
    async def produce(_emit):
        await anyio.lowlevel.checkpoint()

    start, body = await sent(Lines(produce))
    assert (start["status"], body["body"]) == (200, b"")


async def test_a_failed_stream_does_not_end_normally(caplog):
    async def produce(emit):
        await emit(1)
        raise Unreachable("The sensor is gone.")

    with caplog.at_level(logging.WARNING):
        _start, *bodies = await sent(Lines(produce))
    assert [message["more_body"] for message in bodies] == [True]
    assert "A stream was broken off: The sensor is gone." in caplog.text


async def test_a_stream_that_fails_at_once_is_a_problem():
    async def produce(_emit):
        raise Unreachable("The sensor is gone.")

    start, body = await sent(Lines(produce))
    assert start["status"] == 502
    assert json.loads(body["body"])["detail"] == "The sensor is gone."


async def test_a_call_is_cancelled_when_the_caller_leaves():
    cancelled = anyio.Event()

    async def gone():
        return {"type": "http.disconnect"}

    async def endless():
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    with anyio.fail_after(60):
        assert await unless_gone(gone, endless) is None
    assert cancelled.is_set()
