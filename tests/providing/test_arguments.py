"""Arguments out of real requests."""

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.upstreams.registry_service import served

from utcp_bridge.providing.arguments import UnreadableBody, read_arguments

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
def test_the_query_is_read_by_the_schema(url, query, arguments):
    assert httpx2.post(f"{url}/?{query}").json() == arguments


def test_the_body_is_taken_as_it_is_and_goes_before_the_query(url):
    body = {"city": "Oslo", "days": 2.5, "more": None}
    assert httpx2.post(f"{url}/?city=Rome&exact=true", json=body).json() == {**body, "exact": True}


@pytest.mark.parametrize(
    ("body", "media_type", "status", "told"),
    [
        (b'{"city":', "application/json", 400, "not JSON"),
        (b"[1]", "application/json", 400, "no object"),
        (b'{"city": "Oslo"}', "text/plain", 415, "Content-Type: application/json"),
        (b'{"city": "' + b"x" * (4 << 20) + b'"}', "application/json", 413, "4 MiB"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(url, body, media_type, status, told):
    answer = httpx2.post(url, content=body, headers={"Content-Type": media_type})
    assert answer.status_code == status
    assert told in answer.json()["error"]
