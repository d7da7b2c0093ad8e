"""The bridge as an MCP client of the suite: `client.py URL`, with the name of the scenario in the environment.

The bridge has one `mcp` manual with the suite's URL. A host of the same protocol era calls it, with every capability
that a server may use, and answers what servers ask: forms with their defaults, a model without words, no roots.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Collection
from typing import Any
from urllib.request import urlopen

import anyio.to_thread
import mcp_types as types
from mcp.client import Client

from utcp_bridge import UtcpClient
from utcp_bridge.auth.login.person import DeviceCode, Person
from utcp_bridge.errors import AuthRequired, UtcpError
from utcp_bridge.server.app import BridgeServer

SCENARIO = os.environ["MCP_CONFORMANCE_SCENARIO"]
REVISION = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "")
CONTEXT: dict[str, Any] = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
METADATA = "https://conformance-test.local/client-metadata.json"
"""The client that the suite knows without a registration."""
LOGINS = 3
STUBS: dict[str, Any] = {"string": "x", "integer": 0, "number": 0, "boolean": True, "object": {}, "array": []}


def log(*words: object) -> None:
    print(*words, file=sys.stderr)  # noqa: T201 - the suite shows it where a scenario fails


async def elicit(_context: Any, params: Any) -> types.ElicitResult:
    properties = (getattr(params, "requested_schema", None) or {}).get("properties", {})
    answers = {name: schema.get("default", STUBS.get(schema.get("type"))) for name, schema in properties.items()}
    return types.ElicitResult(action="accept", content=answers)


async def sample(_context: Any, _params: Any) -> types.CreateMessageResult:
    return types.CreateMessageResult(role="assistant", content=types.TextContent(type="text", text=""), model="none")


async def roots(_context: Any) -> types.ListRootsResult:
    return types.ListRootsResult(roots=[])


def stub(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the smallest arguments that a tool requires."""
    properties = schema.get("properties", {})
    return {name: STUBS.get(properties.get(name, {}).get("type"), "x") for name in schema.get("required", [])}


class Host:
    """A host in front of the bridge. A call that fails is logged: the suite looks at the requests."""

    def __init__(self, client: Client, names: Collection[str], originals: dict[str, Any]) -> None:
        self.client = client
        self.names = names
        self.originals = originals
        """The schemas of the tools as the server wrote them, by its names."""
        self.schemas: dict[str, dict[str, Any]] = {}

    async def list_tools(self) -> None:
        listed = (await self.client.list_tools()).tools
        self.schemas = {tool.name: tool.input_schema for tool in listed if tool.name in self.names}
        log("tools:", sorted(self.schemas))

    async def call(self, name: str, arguments: dict[str, Any]) -> None:
        try:
            result = await self.client.call_tool(name, arguments)
            log(name, "returned", repr(result)[:1000])
        except Exception as error:  # noqa: BLE001 - the suite judges the requests, not the result
            log(name, "raised", repr(error))

    async def touch_resources_and_prompts(self) -> None:
        try:
            for resource in (await self.client.list_resources()).resources[:1]:
                await self.client.read_resource(str(resource.uri))
            for prompt in (await self.client.list_prompts()).prompts[:1]:
                await self.client.get_prompt(prompt.name)
        except Exception as error:  # noqa: BLE001 - as above
            log("a resource or prompt raised", repr(error))

    async def play(self) -> None:
        """Do what the scenario is about."""
        await self.list_tools()
        for name, arguments in self.calls():
            await self.call(name, arguments)
        if SCENARIO == "http-standard-headers":
            await self.touch_resources_and_prompts()

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the calls of the scenario. Most need any tool."""
        stubs = [(name, stub(schema)) for name, schema in self.schemas.items()]
        if SCENARIO in {"initialize", "json-schema-ref-no-deref"}:
            return []
        if SCENARIO in {"tools_call", "request-metadata"}:
            return [("add_numbers", {"a": 5, "b": 3})]
        if SCENARIO == "http-custom-headers":
            asked = [(one["name"], one.get("arguments") or {}) for one in CONTEXT.get("toolCalls", [])]
            return [(name, arguments) for name, arguments in asked if name in self.schemas]
        if SCENARIO == "json-schema-2020-12-preservation":
            return [("json_schema_echo", {"schema": self.originals["json_schema_2020_12_tool"]})]
        if SCENARIO in {"http-invalid-tool-headers", "sep-2322-client-request-state"}:
            return stubs
        return stubs[:1]


class Browser(Person):
    """The person who logs in: a browser that follows each redirect, at a server that asks nobody."""

    async def visit(self, url: str) -> None:
        await anyio.to_thread.run_sync(lambda: urlopen(url, timeout=60).read())

    async def enter(self, device: DeviceCode) -> None:
        raise NotImplementedError("The suite has no device codes.")


def credentials() -> dict[str, Any]:
    """Return the `auth` of the manual: what an operator writes who received credentials; without any, nothing."""
    client = {name: CONTEXT[name] for name in ("client_id", "client_secret") if name in CONTEXT}
    if "private_key_pem" in CONTEXT:
        signed = {"private_key": CONTEXT["private_key_pem"], "algorithm": CONTEXT.get("signing_algorithm", "ES256")}
        return {"auth": {"auth_type": "oauth2", "client_id": CONTEXT["client_id"], **signed}}
    kind = "oauth2" if SCENARIO.startswith("auth/client-credentials") else "oauth2_login"
    return {"auth": {"auth_type": kind, **client}} if client else {}


async def use(client: UtcpClient) -> None:
    """Call the first tool.

    :raises AuthRequired: a person must log in first.
    """
    log("report:", client.report())
    if not client.tools():
        raise AuthRequired("The manual has no tools yet.")
    tool = client.tools()[0]
    log(tool.name, "returned", repr(await client.call_tool(tool.qualified_name, stub(tool.inputs)))[:1000])


async def authorize(client: UtcpClient) -> None:
    """Use a server, and log in whenever it asks for it, as a person does who gives up after some tries."""
    for _ in range(LOGINS):
        try:
            return await use(client)
        except AuthRequired as needed:
            log("login needed:", needed)
            await client.login_desk.log_in("s", Browser())
    return await use(client)


async def main(url: str) -> None:
    manual = {"name": "s", "call_template_type": "mcp", "server_url": url, **credentials()}
    bridge = {"naming": "short", "exposure": "all", "token_store": "memory", "client_metadata_url": METADATA}
    config = {"manual_call_templates": [manual], "bridge": bridge}
    async with await UtcpClient.create(config) as client:
        if SCENARIO.startswith("auth/"):
            try:
                await authorize(client)
            except UtcpError as error:  # some servers must be refused, and the suite sees what was not sent
                log("gave up:", repr(error))
            return
        log("report:", client.report())
        server = BridgeServer(client)
        mode = "legacy" if REVISION < "2026" else "auto"
        asked = {"elicitation_callback": elicit, "sampling_callback": sample, "list_roots_callback": roots}
        async with Client(server, mode=mode, **asked) as connected:
            originals = {tool.name: tool.inputs for tool in client.tools()}
            await Host(connected, server.catalogue.entries, originals).play()


asyncio.run(main(sys.argv[-1]))
