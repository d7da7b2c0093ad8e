"""Who decides on the limits of a call: the operator, and a fetched template only downwards."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.upstreams.http_service import HttpService

from utcp_bridge import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.errors import DeadlineExceeded, Rejected
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


async def test_values_before_an_error_are_in_the_result_and_the_plain_call_raises_the_error() -> None:
    script = "echo 1; echo 2; printenv KEY >&2; exit 3"
    template = {"call_template_type": "cli", "command": "sh", "args": ["-c", script], "stream": True}
    template["env_vars"] = {"KEY": "${SECRET}"}
    manual = {"utcp_version": "1.0", "tools": [{"name": "breaks", "tool_call_template": template}]}
    entry = {"name": "m", "call_template_type": "text", "content": manual}
    entry["allowed_communication_protocols"] = ["text", "cli"]
    seen: list[Any] = []
    outcomes: list[str] = []
    config = {"manual_call_templates": [entry], "variables": {"m_SECRET": "a-secret-of-the-operator"}}
    metrics = Extensions(metrics=[lambda details: outcomes.append(details.outcome)])
    async with await UtcpClient.create(config, extensions=metrics) as client:
        result = await client.call("breaks", {})
        with pytest.raises(Rejected):
            await client.call_tool("breaks")

        async def stream() -> None:
            async for value in client.call_tool_streaming("breaks"):
                seen.append(value)  # noqa: PERF401 - the error comes after the values

        with pytest.raises(Rejected):
            await stream()
    assert result.value == seen == ["1", "2"]
    assert isinstance(result.failure, Rejected)
    assert "incomplete" in str(result.truncated)
    assert "a-secret" not in str(result)
    assert outcomes == ["rejected"] * 3
