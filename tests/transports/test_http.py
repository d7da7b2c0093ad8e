"""The shared suite against a real HTTP service, and how a response becomes a value."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import anyio
import pytest
from tests.upstreams.http_service import API_KEY, PNG, WAV, HttpService

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.auth.models import parse_auth
from utcp_bridge.errors import ConnectionLost, InvalidArguments, PolicyError, Rejected, ReplyTooLarge
from utcp_bridge.model import Binary, ContentBlocks, JsonObject, Result, Source, discard
from utcp_bridge.net.reply import Reply, located
from utcp_bridge.testing.contract import CANARY, Bench, Case, Peer
from utcp_bridge.testing.services import make_call
from utcp_bridge.transport import Target
from utcp_bridge.transports.http import TRANSPORT, HttpTemplate, HttpTransport

pytestmark = pytest.mark.anyio


class HttpPeer(Peer):
    transport = HttpTransport

    def __init__(self) -> None:
        self.service = HttpService()

    async def start(self) -> None:
        await self.service.__aenter__()

    async def stop(self) -> None:
        await self.service.__aexit__()

    def manual(self, dialect: str) -> JsonObject:
        if dialect == "v0":
            return {"provider_type": "http", "url": f"{self.service.base}/utcp/v0", "http_method": "GET"}
        return {"call_template_type": "http", "url": f"{self.service.base}/utcp"}

    def case(self, path: str, arguments: JsonObject | None = None, **fields: Any) -> Case:
        return Case({"call_template_type": "http", "url": self.service.base + path, **fields}, arguments or {})

    def echo(self, text: str) -> Case:
        return self.case("/echo", {"text": text})

    def slow(self) -> Case:
        return self.case("/slow")

    async def arrived(self) -> None:
        await self.service.slow_arrived.wait()

    async def gone(self) -> None:
        await self.service.slow_gone.wait()

    def authenticated(self) -> bool:
        return self.service.last.headers.get("X-Auth") == CANARY

    def fault(self, name: str) -> Case:
        paths = {"reset": "/reset", "malformed": "/malformed", "oversized": "/bytes/200000"}
        if name == "refused":
            return Case({"call_template_type": "http", "url": f"{self.service.refusing}/echo"})
        return self.case(paths[name])

    def with_secret(self, case: Case, secret: str) -> Case:
        url = f"{case.template['url']}?key={secret}"
        template = {**case.template, "url": url, "headers": {"X-Key": secret}, "cookies": {"session": secret}}
        return replace(case, template=template)


PEER = HttpPeer


async def _call(bench: Bench, case: Case, **target_fields: Any) -> Result:
    target = replace(bench.target(case.template), **target_fields)
    with anyio.fail_after(60):
        return await bench.transport.call(target, make_call(case.arguments), discard)


def _http(bench: Bench) -> HttpPeer:
    assert isinstance(bench.peer, HttpPeer)
    return bench.peer


async def test_arguments_go_to_path_header_body_and_query_in_the_order_of_utcp(bench: Bench) -> None:
    case = _http(bench).case(
        "/echo/items/{id}",
        {"id": "a/b", "X-Trace": "t1", "body": {"n": 1}, "limit": 5, "tags": ["x", "y"]},
        http_method="POST",
        header_fields=["X-Trace"],
    )
    echoed = (await _call(bench, case)).value
    assert echoed["target"] == "/echo/items/a%2Fb?limit=5&tags=x&tags=y"
    assert echoed["method"] == "POST"
    assert echoed["headers"]["x-trace"] == "t1"
    assert echoed["json"] == {"n": 1}
    assert echoed["headers"]["content-type"] == "application/json"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_each_method_is_sent_under_its_name(bench: Bench, method: str) -> None:
    case = _http(bench).case("/echo", {"text": "x"}, method=method.lower())
    assert (await _call(bench, case)).value["method"] == method


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
async def test_head_and_options_return_status_and_headers(bench: Bench, method: str) -> None:
    value = (await _call(bench, _http(bench).case("/options", http_method=method))).value
    assert value["status"] == 200
    assert value["headers"]["allow"] == "GET, POST"
    assert "server" not in value["headers"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/image", Binary(PNG, "image/png")),
        ("/audio", Binary(WAV, "audio/wav")),
        ("/binary", Binary(bytes(range(256)))),
        ("/text", "gr\u00fc\u00df"),
        ("/created", {"id": 7}),
        ("/empty", None),
    ],
)
async def test_a_response_becomes_a_value_by_its_media_type(bench: Bench, path: str, expected: Any) -> None:
    assert (await _call(bench, _http(bench).case(path))).value == expected


async def test_the_result_has_the_status_and_the_pagination_links(bench: Bench) -> None:
    result = await _call(bench, _http(bench).case("/items"))
    assert result.value == [1, 2]
    assert result.meta == {"status": 200, "link": '</items?page=2>; rel="next"'}


@pytest.mark.parametrize(("status", "retryable"), [(404, False), (422, False), (500, False), (429, True), (503, True)])
async def test_an_error_status_is_a_rejection_with_its_detail(bench: Bench, status: int, retryable: bool) -> None:
    with pytest.raises(Rejected, match=str(status)) as caught:
        await _call(bench, _http(bench).case(f"/status/{status}"))
    assert caught.value.status == status
    assert caught.value.detail == {"title": "It did not work", "detail": "as asked"}
    assert caught.value.retryable is retryable
    assert caught.value.retry_after == (7.0 if retryable else None)


async def test_credentials_are_added_to_the_request(bench: Bench) -> None:
    auth = parse_auth({"auth_type": "api_key", "api_key": API_KEY, "var_name": "X-Api-Key"})
    credentials = Credentials(auth, frozenset({_http(bench).service.base}))
    result = await _call(bench, _http(bench).case("/secure"), credentials=credentials)
    assert result.value == {"secret": "open"}


async def test_an_incomplete_response_is_an_error(bench: Bench) -> None:
    with pytest.raises(ConnectionLost):
        await _call(bench, _http(bench).case("/reset-midway"))


async def test_a_missing_path_argument_is_named_and_no_request_is_sent(bench: Bench) -> None:
    with pytest.raises(InvalidArguments, match="'id'"):
        await _call(bench, _http(bench).case("/echo/{id}"))
    assert _http(bench).service.requests == []


@pytest.mark.parametrize("hostile", ["..", ".", "../admin", "%2e%2e", "..%2fadmin", "a/../../b", "..\\admin", "..;/x"])
async def test_a_path_argument_cannot_leave_its_segment(bench: Bench, hostile: str) -> None:
    with pytest.raises(InvalidArguments, match="'id'"):
        await _call(bench, _http(bench).case("/echo/{id}/posts", {"id": hostile}))
    assert _http(bench).service.requests == []


@pytest.mark.parametrize("hostile", ["?x=1", "#f", "//h", "a&b=c", "\u00e9", "a b", "%41", "\U0001f600"])
async def test_a_path_argument_arrives_as_one_encoded_segment(bench: Bench, hostile: str) -> None:
    value = (await _call(bench, _http(bench).case("/echo/{id}/posts", {"id": hostile}))).value
    assert value["query"] == []
    assert value["target"].count("/") == 3


async def test_the_limit_of_a_manual_overrides_the_general_limit(bench: Bench) -> None:
    call = make_call({}, limits={"max_reply_bytes": 5})
    with anyio.fail_after(60), pytest.raises(ReplyTooLarge):
        await bench.transport.call(bench.target(_http(bench).case("/created").template), call, discard)


async def test_a_loopback_target_is_refused_unless_the_operator_allows_it(bench: Bench) -> None:
    target: Target[HttpTemplate] = replace(
        bench.target(_http(bench).case("/echo").template), source=Source(name="other")
    )
    with anyio.fail_after(60), pytest.raises(PolicyError, match="loopback"):
        await bench.transport.call(target, make_call({}), discard)
    assert _http(bench).service.requests == []


async def test_a_binary_body_arrives_byte_for_byte(bench: Bench) -> None:
    data = bytes(range(256)) * 4
    case = _http(bench).case(
        "/echo",
        {"body": base64.b64encode(data).decode()},
        http_method="PUT",
        content_type="application/octet-stream",
    )
    echoed = (await _call(bench, case)).value
    assert base64.b64decode(echoed["body"]) == data
    assert echoed["headers"]["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("method", "hints"),
    [
        ("GET", {"openWorldHint": True, "readOnlyHint": True, "idempotentHint": True}),
        ("HEAD", {"openWorldHint": True, "readOnlyHint": True, "idempotentHint": True}),
        ("PUT", {"openWorldHint": True, "destructiveHint": True, "idempotentHint": True}),
        ("DELETE", {"openWorldHint": True, "destructiveHint": True, "idempotentHint": True}),
        ("POST", {"openWorldHint": True}),
        ("PATCH", {"openWorldHint": True}),
    ],
)
async def test_hints_follow_from_the_method(method: str, hints: dict[str, bool]) -> None:
    template = HttpTemplate(call_template_type="http", url="https://api.example.com/", http_method=method)
    assert TRANSPORT.annotations(template) == hints
    assert TRANSPORT.endpoint(template) == "https://api.example.com/"


@pytest.mark.parametrize(
    ("kind", "body", "content"),
    [
        ("text/plain", b"note", {"text": "note"}),
        ("application/pdf", b"%PDF", {"blob": "JVBERg=="}),
    ],
)
async def test_a_content_location_makes_text_and_bytes_an_embedded_resource(
    kind: str, body: bytes, content: dict[str, str]
) -> None:
    resource = {"uri": "https://shop.example/notes/1", "mimeType": kind, **content}
    reply = Reply(200, {"Content-Type": kind, "Content-Location": "../notes/1"}, body, "https://shop.example/a/b?key=x")
    assert located(reply.value(), reply) == ContentBlocks([{"type": "resource", "resource": resource}])


@pytest.mark.parametrize(
    ("kind", "body"), [("application/json", b'{"a":1}'), ("image/png", b"\x89PNG"), ("audio/wav", b"RIFF")]
)
async def test_json_images_and_audio_stay_what_they_are_with_a_content_location(kind: str, body: bytes) -> None:
    reply = Reply(200, {"Content-Type": kind, "Content-Location": "urn:x"}, body, "https://shop.example/")
    assert located(reply.value(), reply) == reply.value()
