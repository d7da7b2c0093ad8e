"""Credentials in results: replaced in each text, and nothing else is changed."""

from __future__ import annotations

import base64
import html
import json
from typing import Any
from urllib.parse import quote

import pytest
from tests.support.work import calls_made_by

from utcp_bridge.auth.redaction import MASK, Redactor
from utcp_bridge.auth.results import masked_notes, masked_partial, masked_result
from utcp_bridge.model import Binary, ContentBlocks, Result

pytestmark = pytest.mark.anyio

SECRET = "p@ss w/ord+%ü'\"<"
PLAIN = "sk-123456789"
BLOB = base64.b64encode(f"key {PLAIN} of us".encode()).decode()


def redactor_of(*secrets: str) -> Redactor:
    redactor = Redactor()
    redactor.learn(secrets or [SECRET, PLAIN], is_credential=True)
    return redactor


FORMS = [
    PLAIN,
    base64.b64encode(f"user:{PLAIN}".encode()).decode(),
    PLAIN.encode().hex(),
    SECRET,
    quote(SECRET),
    quote(SECRET, safe=""),
    json.dumps(SECRET)[1:-1],
    json.dumps(SECRET, ensure_ascii=False)[1:-1],
    html.escape(SECRET),
    repr(SECRET)[1:-1],
    base64.b64encode(SECRET.encode()).decode().rstrip("="),
    base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
]


@pytest.mark.parametrize("form", FORMS)
async def test_no_form_of_a_credential_is_in_any_text_of_a_result(form: str) -> None:
    blocks = [
        {"type": "text", "text": f"a {form} b", "annotations": {form: [form]}},
        {"type": "resource_link", "uri": f"https://a.example/?key={form}", "name": form},
        {"type": "resource", "resource": {"uri": "a:b", "text": form, "_meta": {"x": {form: form}}}},
    ]
    values: list[Any] = [
        form,
        f"before {form} and {form}",
        {"deep": [{form: [form, 1, None, f"<{form}>"]}], "kept": "as it is"},
        [form, 2],
        ContentBlocks(blocks, {"a": form}),
        [ContentBlocks(blocks), f"partial {form}", Binary(b"\x00\x01")],
        Binary(form.encode(), "text/plain"),
    ]
    for value in values:
        masked = await masked_result(Result(value), redactor_of())
        shown = masked.value.data.decode() if isinstance(masked.value, Binary) else repr(masked.value)
        assert form not in shown
        assert repr(form)[1:-1] not in shown
        assert MASK in shown


async def test_what_has_no_credential_stays_the_same_object() -> None:
    for value in (
        {"a": [1, "text"]},
        "text",
        ContentBlocks([{"type": "text", "text": "x"}]),
        Binary(b"x"),
        [1],
        None,
        3,
    ):
        result = Result(value)
        assert await masked_result(result, redactor_of()) is result
        assert await masked_partial(value, redactor_of()) is value
    listed = [ContentBlocks([{"type": "text", "text": "x"}]), "b"]
    assert await masked_partial(listed, redactor_of()) is listed


async def test_encoded_content_stays_valid_base64() -> None:
    block = {"type": "resource", "resource": {"uri": "a:b", "blob": BLOB}}
    masked = await masked_partial(
        ContentBlocks([block, {"type": "image", "data": BLOB, "mimeType": "a/b"}]), redactor_of()
    )
    assert [base64.b64decode(one) for one in (masked.content[0]["resource"]["blob"], masked.content[1]["data"])] == [
        MASK.encode(),
        MASK.encode(),
    ]


async def test_members_of_plain_json_are_not_taken_for_base64() -> None:
    assert await masked_partial({"data": PLAIN, "blob": [PLAIN]}, redactor_of()) == {"data": MASK, "blob": [MASK]}


async def test_ordinary_variables_and_short_credentials_are_not_replaced_in_results() -> None:
    redactor = Redactor()
    redactor.learn(["Amsterdam"])
    redactor.learn(["orders"], is_credential=True)
    value = {"city": "Amsterdam", "kind": "orders"}
    assert await masked_partial(value, redactor) is value
    assert redactor("orders of Amsterdam") == f"{MASK} of {MASK}"


async def test_values_that_json_cannot_write_are_searched_too() -> None:
    masked = await masked_partial({"a": [f"{PLAIN}\ud800", 2**80]}, redactor_of())
    assert masked == {"a": [f"{MASK}\ud800", 2**80]}


async def test_notes_of_a_result_have_no_secret_of_any_kind() -> None:
    redactor = Redactor()
    redactor.learn(["any-variable"])
    failed = ContentBlocks([{"type": "text", "text": "401 for any-variable"}], {"key": "any-variable"}, is_error=True)
    meta = {"status": 200, "link": "<https://a.example/?page=2&key=any-variable>; rel=next", "more": ["any-variable"]}
    masked = masked_notes(Result(failed, truncated="the stream ended: any-variable", meta=meta), redactor)
    assert "any-variable" not in repr(masked)
    assert masked.meta["status"] == 200
    assert masked.meta["link"] == f"<https://a.example/?page=2&key={MASK}>; rel=next"
    plain = Result({"a": "any-variable"}, meta={"status": 200})
    assert masked_notes(plain, redactor) is plain


async def test_a_result_without_credentials_to_look_for_costs_one_look() -> None:
    large = Result([{"n": number} for number in range(10_000)])
    assert calls_made_by(lambda: masked_notes(large, Redactor())) < 100
