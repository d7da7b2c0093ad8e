"""The dry run: what can be built, what lacks something, and that nothing is sent."""

import pytest
from tests.upstreams.http_service import HttpService

from utcp_bridge import UtcpClient
from utcp_bridge.doctor.requests import build_requests
from utcp_bridge.errors import VariableNotFound

pytestmark = pytest.mark.anyio
NEEDED = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}


@pytest.fixture
async def service():
    async with HttpService() as running:
        yield running


def tool(service, name, inputs=NEEDED, **fields):
    template = {"call_template_type": "http", "url": f"{service.base}/echo", **fields}
    return {"name": name, "inputs": inputs, "tool_call_template": template}


async def found_in(*tools):
    content = {"utcp_version": "1.0.1", "tools": list(tools)}
    entry = {"name": "shop", "call_template_type": "text", "content": content}
    async with await UtcpClient.create({"manual_call_templates": [entry]}) as client:
        return await build_requests(client, client.tools())


async def test_requests_that_can_be_built_are_counted_and_not_sent(service):
    found = await found_in(tool(service, "a"), tool(service, "b"))
    assert (found.status, found.message) == ("ok", "2 requests can be built; nothing was sent.")
    assert service.requests == []


async def test_a_tool_that_lacks_something_is_a_warning_with_its_name_and_reason(service):
    found = await found_in(tool(service, "a"), tool(service, "b", headers={"X-Key": "${KEY}"}))
    assert (found.status, found.message) == ("warning", "1 request can be built, 1 cannot.")
    assert found.details[0].startswith("error: shop.b: Variable 'shop_KEY' is not set")


async def test_where_no_request_can_be_built_the_step_fails(service):
    with pytest.raises(VariableNotFound):
        await found_in(tool(service, "b", headers={"X-Key": "${KEY}"}))


async def test_arguments_that_cannot_be_made_up_are_no_fault(service):
    inputs = {"type": "object", "properties": {"id": {"type": "string", "pattern": "^[A-Z]{7}$"}}, "required": ["id"]}
    found = await found_in(tool(service, "a", inputs))
    assert (found.status, found.details) == ("ok", ("note: shop.a: no arguments that fit could be made up",))
