"""Calls of a diagnosis: by either name, told by the kind of their answer alone."""

import pytest

from utcp_bridge.catalogue.catalogue import Catalogue
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.doctor.calls import Trial, manual_of, try_call
from utcp_bridge.errors import InvalidArguments, UnknownTool

pytestmark = pytest.mark.anyio

NEEDED = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}


@pytest.fixture
async def client():
    def tool(name, content, **fields):
        return {"name": name, "tool_call_template": {"call_template_type": "text", "content": content}, **fields}

    tools = [tool("notice", "Mind the step."), tool("data", {"a": 1}), tool("list", [1, 2], inputs=NEEDED)]
    content = {"utcp_version": "1.0.1", "tools": tools}
    entries = [{"name": "house", "call_template_type": "text", "content": content}]
    async with await UtcpClient.create({"manual_call_templates": entries}) as opened:
        yield opened


@pytest.mark.parametrize(
    ("tool", "arguments", "kind"),
    [
        ("house.notice", {}, "a text of 14 characters"),
        ("house_data", {}, "an object with 1 member"),
        ("house.list", {"id": 1}, "a list of 2"),
    ],
)
async def test_an_answer_is_told_by_its_kind_and_never_by_its_words(client, tool, arguments, kind):
    found = await try_call(client, Catalogue(client), Trial(tool, arguments))
    assert found.message == f"{tool.replace('_', '.')} answered {kind}."


async def test_arguments_that_do_not_fit_are_told_with_those_that_do(client):
    with pytest.raises(InvalidArguments, match=r"Its arguments are: id \(integer, required\)"):
        await try_call(client, Catalogue(client), Trial("house.list"))


async def test_a_tool_that_nobody_has_is_unknown(client):
    with pytest.raises(UnknownTool, match=r"'house.door'"):
        await try_call(client, Catalogue(client), Trial("house.door"))


async def test_a_call_belongs_to_its_tools_manual_or_to_the_one_its_name_begins_with(client):
    catalogue, manuals = Catalogue(client), ["house", "house_b"]
    assert manual_of(Trial("house_notice"), catalogue, manuals) == "house"
    assert manual_of(Trial("house_b.gone"), catalogue, manuals) == "house_b"
    assert manual_of(Trial("street.gone"), catalogue, manuals) is None
