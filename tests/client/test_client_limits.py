"""Who decides on the limits of a call: the operator, and a fetched template only downwards."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.upstreams.http_service import HttpService

from utcp_bridge import UtcpClient
from utcp_bridge.errors import DeadlineExceeded
from utcp_bridge.model import JsonObject

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service() -> AsyncIterator[HttpService]:
    async with HttpService() as service:
        yield service


def http_entry(service: HttpService, **fields: Any) -> JsonObject:
    return {"name": "peer", "call_template_type": "http", "url": f"{service.base}/utcp", **fields}


@pytest.mark.parametrize(
    ("own", "entry", "seconds"),
    [
        ({"timeout": 999}, {}, "0.3"),
        ({"timeout": 0.1}, {}, "0.1"),
        ({"timeout": 999}, {"timeout": 0.4}, "0.4"),
        ({"timeout": 0.35}, {"timeout": 0.4}, "0.35"),
        ({"timeout": 999}, {"call_timeout": 0.2}, "0.2"),
        ({"timeout": -5}, {}, "0.3"),
        ({"timeout": "999"}, {}, "0.3"),
        ({"timeout": True}, {}, "0.3"),
        ({"call_timeout": 999, "retries": 10, "max_reply_bytes": 10**9}, {}, "0.3"),
    ],
)
async def test_a_fetched_template_may_lower_the_time_of_its_calls_and_not_raise_it(
    service: HttpService, monkeypatch: pytest.MonkeyPatch, own: JsonObject, entry: JsonObject, seconds: str
) -> None:
    template = {"call_template_type": "http", "http_method": "GET", "url": f"{service.base}/slow", **own}
    manual = {"utcp_version": "1.0.1", "tools": [{"name": "slow", "tool_call_template": template}]}
    monkeypatch.setattr(service, "manual", lambda _dialect: manual)
    config = {"manual_call_templates": [http_entry(service, **entry)], "bridge": {"call_timeout": 0.3}}
    async with await UtcpClient.create(config) as client:
        with pytest.raises(DeadlineExceeded, match=rf"within {re.escape(seconds)} seconds"):
            await client.call("slow", {})
