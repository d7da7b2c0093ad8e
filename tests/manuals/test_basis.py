"""A refresh of what has not changed costs the question alone; a change anywhere is noticed."""

import json
import logging
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.tools import tool_object
from tests.upstreams.editions_service import EditionsService, Marks
from tests.upstreams.graphql_service import GraphQlService

from utcp_bridge import UtcpClient
from utcp_bridge.manuals.basis import digest_of
from utcp_bridge.manuals.building import ToolBuilder
from utcp_bridge.manuals.confinement import Confinement
from utcp_bridge.model import Document, Tool

pytestmark = pytest.mark.anyio


class Work:
    """Counts what a refresh does besides asking."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = self.built = 0
        reader, steps = Confinement.reader, ToolBuilder.steps

        def counted_reader(confinement: Confinement, *given: Any) -> Any:
            self.read += 1
            return reader(confinement, *given)

        def counted_steps(builder: ToolBuilder, *given: Any, **named: Any) -> Any:
            self.built += 1
            return steps(builder, *given, **named)

        monkeypatch.setattr(Confinement, "reader", counted_reader)
        monkeypatch.setattr(ToolBuilder, "steps", counted_steps)

    def take(self) -> tuple[int, int]:
        """Return how many documents were read and built since the last call."""
        done, self.read, self.built = (self.read, self.built), 0, 0
        return done


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


def manual(*names: str, **fields: Any) -> bytes:
    return json.dumps({"utcp_version": "1.0.1", "tools": [tool_object(name, **fields) for name in names]}).encode()


def openapi(reference: str = "schemas.json#/Item") -> bytes:
    content = {"application/json": {"schema": {"$ref": reference}}}
    operation = {"operationId": "get", "responses": {"200": {"description": "", "content": content}}}
    info = {"title": "t", "version": "1"}
    return json.dumps({"openapi": "3.0.3", "info": info, "paths": {"/a": {"get": operation}}}).encode()


def described(client: UtcpClient) -> dict[str, str]:
    return {tool.name: tool.description for tool in client.tools()}


@asynccontextmanager
async def opened(service: EditionsService, path: str = "/utcp", **entry: Any) -> AsyncGenerator[UtcpClient]:
    whole = {"name": "m", "call_template_type": "http", "url": f"{service.base}{path}", **entry}
    async with await UtcpClient.create({"manual_call_templates": [whole]}) as client:
        assert [str(state.error) for state in client.report() if state.error] == []
        yield client


@pytest.mark.parametrize(("marks", "status"), [("none", 200), ("etag", 304), ("date", 304)])
async def test_an_unchanged_manual_is_asked_for_and_nothing_more(
    work: Work, marks: Marks, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with EditionsService(marks) as service:
        service.files["/utcp"] = manual("a", "b")
        async with opened(service) as client:
            assert work.take() == (1, 1)
            tools, generation = client.tools(), client.generation
            with caplog.at_level(logging.INFO):
                await client.refresh("m")
            assert work.take() == (0, 0)
            assert service.answers == [("/utcp", 200), ("/utcp", status)]
            assert (client.tools(), client.generation) == (tools, generation)
            assert [record for record in caplog.records if "m" in record.getMessage().split()] == []


@pytest.mark.parametrize("marks", ["none", "etag", "date"])
async def test_a_change_is_noticed_and_said_in_one_line(
    work: Work, marks: Marks, caplog: pytest.LogCaptureFixture
) -> None:
    async with EditionsService(marks) as service:
        service.files["/utcp"] = manual(*(f"t{number}" for number in range(50)), description="old")
        async with opened(service) as client:
            service.files["/utcp"] = manual(*(f"t{number}" for number in range(10, 60)), description="new")
            service.date = "Tue, 02 Jan 2024 00:00:00 GMT"
            with caplog.at_level(logging.INFO):
                await client.refresh("m")
            assert work.take() == (2, 2)
            assert set(described(client).values()) == {"new"}
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("utcp_bridge.manuals")]
    assert lines[-1] == "Manual m was read again: tools 10 added, 10 removed, 40 changed."
    assert len(lines) == 2, "the other line has the changed definitions"
    assert lines[0].endswith("35 more tools changed.")


async def test_a_document_that_changed_within_the_second_of_its_date_is_read_again(work: Work) -> None:
    async with EditionsService("date") as service:
        service.date = "Fri, 01 Jan 2100 00:00:00 GMT"
        service.files["/utcp"] = manual("a")
        async with opened(service) as client:
            await client.refresh("m")
            assert service.answers == [("/utcp", 200), ("/utcp", 200)]
            assert work.take() == (1, 1)


@pytest.mark.parametrize("marks", ["none", "etag"])
async def test_every_part_of_a_description_counts(work: Work, marks: Marks) -> None:
    async with EditionsService(marks) as service:
        service.files |= {"/a/api.json": openapi(), "/a/schemas.json": b'{"Item": {"$ref": "more.json"}}'}
        service.files["/a/more.json"] = b'{"type": "string"}'
        async with opened(service, "/a/api.json") as client:
            assert work.take() == (1, 1)
            await client.refresh("m")
            assert work.take() == (0, 0)
            service.files["/a/more.json"] = b'{"type": "integer"}'
            await client.refresh("m")
            assert work.take() == (1, 1)
            assert "integer" in str(client.tools()[0].outputs)
            del service.files["/a/more.json"]
            await client.refresh("m")
            assert work.take() == (1, 1)
            assert "404" in str(client.report()[0].faults)
            await client.refresh("m")
            assert work.take() == (0, 0)
            service.files["/a/more.json"] = b'{"type": "boolean"}'
            await client.refresh("m")
            assert "boolean" in str(client.tools()[0].outputs)


async def test_a_description_of_files_is_as_its_files_are(work: Work, tmp_path: Path) -> None:
    (tmp_path / "api.json").write_bytes(openapi())
    (tmp_path / "schemas.json").write_text('{"Item": {"type": "string"}}')
    entry = {"name": "m", "call_template_type": "file", "file_path": "api.json", "watch": False}
    async with await UtcpClient.create({"manual_call_templates": [entry]}, root=tmp_path) as client:
        await client.refresh("m")
        assert work.take() == (1, 1)
        (tmp_path / "schemas.json").write_text('{"Item": {"type": "integer"}}')
        await client.refresh("m")
        assert work.take() == (1, 1)
        assert "integer" in str(client.tools()[0].outputs)


async def test_a_changed_variable_builds_the_same_document_again(work: Work, tmp_path: Path) -> None:
    values = tmp_path / ".env"
    async with EditionsService("etag") as service:
        template = {"call_template_type": "http", "url": f"{service.base}/${{PLACE}}", "http_method": "GET"}
        service.files["/utcp"] = manual("a", tool_call_template=template)
        entry = {"name": "m", "call_template_type": "http", "url": f"{service.base}/utcp"}
        loaders = [{"variable_loader_type": "dotenv", "env_file_path": str(values)}]
        async with await UtcpClient.create(
            {"manual_call_templates": [entry], "load_variables_from": loaders}
        ) as client:
            assert "m_PLACE" in str(client.report()[0].faults)
            await client.refresh("m")
            assert work.take() == (1, 1)
            values.write_text("m_PLACE=here\n")
            await client.refresh("m")
            assert work.take() == (1, 1)
            assert client.report()[0].faults == []
            await client.refresh("m")
            assert work.take() == (0, 0)


async def test_a_line_that_leaves_the_lock_file_counts(work: Work, tmp_path: Path) -> None:
    async with EditionsService() as service:
        service.files["/utcp"] = manual("a", description="old")
        file = tmp_path / "utcp.json"
        entry = {"name": "m", "call_template_type": "http", "url": f"{service.base}/utcp"}
        file.write_text(json.dumps({"manual_call_templates": [entry], "bridge": {"pin": "refuse"}}))
        async with await UtcpClient.create(file) as client:
            service.files["/utcp"] = manual("a", description="new")
            await client.refresh("m")
            assert client.tools() == ()
            (tmp_path / "utcp.lock").write_text('{"tools": {}, "version": 2}')
            await client.refresh("m")
            assert described(client) == {"a": "new"}


async def test_two_manuals_at_one_address_have_their_own_editions() -> None:
    async with EditionsService("etag") as service:
        service.files["/utcp"] = manual("a")
        entry = {"call_template_type": "http", "url": f"{service.base}/utcp"}
        async with await UtcpClient.create([{"name": "one", **entry}]) as client:
            await client.register_manual({"name": "two", **entry})
            await client.refresh("one")
            await client.refresh("two")
            assert [tool.qualified_name for tool in client.tools()] == ["one.a", "two.a"]


async def test_a_failure_in_between_changes_nothing(work: Work) -> None:
    async with EditionsService("etag") as service:
        service.files["/utcp"] = manual("a")
        async with opened(service) as client:
            kept: list[Tool] = list(client.tools())
            service.files["/utcp"] = b'{"tools": ['
            await client.refresh("m")
            assert client.report()[0].error is not None
            service.files["/utcp"] = manual("a")
            work.take()
            await client.refresh("m")
            assert client.report()[0].error is None
            assert work.take() == (0, 0)
            assert list(client.tools()) == kept


async def test_tools_that_a_transport_makes_are_compared_whole(work: Work) -> None:
    async with GraphQlService() as service:
        entry = {"name": "g", "call_template_type": "graphql", "url": f"{service.base}/graphql"}
        async with await UtcpClient.create([entry]) as client:
            assert work.take() == (0, 1)
            await client.refresh("g")
            assert work.take() == (0, 0)
            assert client.report()[0].tools > 0


async def test_what_has_no_hash_is_built_each_time() -> None:
    from utcp_bridge.manuals.basis import digest_of

    assert await digest_of(Document({"tools": [2**80]}, generated=True)) is None
    assert await digest_of(Document("a")) == await digest_of(Document(b"a"))
    assert await digest_of(Document(b"x" * 2_000_000)) != await digest_of(Document(b"x"))


def with_shared(definition: Any, count: int = 2) -> Document:
    """Return tools whose schemas all have the same definition object."""
    inputs = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": definition}}
    tools = [{"name": f"t{number}", "inputs": inputs, "tool_call_template": {}} for number in range(count)]
    return Document({"utcp_version": "1.0", "tools": tools})


async def test_each_definition_and_its_name_count_however_many_tools_share_it() -> None:
    whole = [{"type": "string"}, {"type": "integer"}]
    digests = [await digest_of(with_shared(one)) for one in (*whole, whole[0])]
    assert digests[0] == digests[2] != digests[1]
    renamed = with_shared(whole[0])
    renamed.content["tools"][1]["inputs"] = {"$defs": {"B": whole[0]}}
    assert await digest_of(renamed) not in digests
    assert await digest_of(with_shared(whole[0], 3)) not in digests


async def test_what_many_tools_share_is_hashed_once() -> None:
    large = {"enum": ["x" * 100_000]}
    tracemalloc.start()
    try:
        await digest_of(with_shared(large, 100))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000, "a hundred times the definition is ten million bytes"
