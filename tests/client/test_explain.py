"""What a client tells of manuals and calls without reaching for them."""

import pytest
from tests.upstreams.http_service import HttpService

from utcp_bridge import UtcpClient
from utcp_bridge.client.client import Extensions
from utcp_bridge.errors import InvalidArguments, Unexplainable, VariableNotFound
from utcp_bridge.model import CallTemplate
from utcp_bridge.transport import Endpoint, Transport

pytestmark = pytest.mark.anyio
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


@pytest.fixture
async def service():
    async with HttpService() as running:
        yield running


class _Template(CallTemplate):
    call_template_type: str = "pigeon"


class _Pigeon(Transport[_Template]):
    kinds = ("pigeon",)
    template = _Template

    async def discover(self, target):
        raise NotImplementedError

    async def call(self, target, call, emit):
        return "arrived"


def config_of(template, **more):
    tool = {"name": "echo", "inputs": TEXT, "tool_call_template": template}
    entry = {
        "name": "peer",
        "call_template_type": "text",
        "content": {"utcp_version": "1.0.1", "tools": [tool]},
        "allowed_communication_protocols": [template["call_template_type"]],
    }
    return {"manual_call_templates": [entry], **more}


async def test_where_a_template_leads_is_told_without_asking_it(service: HttpService) -> None:
    entry = {"name": "my shop", "call_template_type": "http", "url": f"{service.base}/${{PART}}"}
    async with await UtcpClient.create({}) as client:
        assert client.unset_variables(entry) == ["my__shop_PART"]
        with pytest.raises(VariableNotFound):
            client.reach(entry)
    async with await UtcpClient.create({"variables": {"PART": "utcp"}}) as client:
        target, needs = client.reach(entry)
        assert client.unset_variables(entry) == []
        assert client.report() == []
    assert (target.source.name, list(needs)) == ("my_shop", [Endpoint(f"{service.base}/utcp")])
    assert service.requests == []


async def test_an_explained_call_is_not_made(service: HttpService) -> None:
    template = {"call_template_type": "http", "url": f"{service.base}/echo"}
    async with await UtcpClient.create(config_of(template)) as client:
        request = await client.explain(client.find("peer.echo"), {"text": "a b"})
    assert request.line == f"GET {service.base}/echo?text=a%20b"
    assert service.requests == []


async def test_an_explanation_masks_secrets_of_any_length_wherever_they_stand(service: HttpService) -> None:
    template = {
        "call_template_type": "http",
        "http_method": "POST",
        "url": f"{service.base}/echo",
        "body_template": {"pin": "${PIN}", "text": "{{text}}"},
        "auth": {"auth_type": "basic", "username": "ada", "password": "${PIN}"},
    }
    async with await UtcpClient.create(config_of(template, variables={"peer_PIN": "x9z"})) as client:
        request = await client.explain(client.find("peer.echo"), {"text": "t"})
    assert request.messages == (b'{"pin":"***","text":"t"}',)
    assert dict(request.fields)["Authorization"] == "Basic ***"


async def test_an_explanation_checks_arguments_and_needs_variables(service: HttpService) -> None:
    template = {"call_template_type": "http", "url": f"{service.base}/echo", "headers": {"X-Key": "${KEY}"}}
    async with await UtcpClient.create(config_of(template)) as client:
        tool = client.find("peer.echo")
        with pytest.raises(InvalidArguments):
            await client.explain(tool, {})
        with pytest.raises(VariableNotFound):
            await client.explain(tool, {"text": "a"})


async def test_a_transport_that_cannot_tell_says_so() -> None:
    extensions = Extensions(transports=(_Pigeon,))
    async with await UtcpClient.create(config_of({"call_template_type": "pigeon"}), extensions=extensions) as client:
        assert await client.call_tool("peer.echo", {"text": "a"}) == "arrived"
        with pytest.raises(Unexplainable, match="The pigeon transport does not tell what it would send"):
            await client.explain(client.find("peer.echo"), {"text": "a"})
