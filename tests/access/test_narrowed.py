"""What a profile's client and server show must not depend on anything that the profile does not have."""

import json

import anyio
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mcp.server.connection import Connection
from mcp.server.runner import serve_one
from mcp.shared.exceptions import MCPError
from tests.support.mcp_context import MODERN_META, Exchange
from tests.support.server_client import Manual, StandIn

from utcp_bridge import UtcpClient
from utcp_bridge.access.narrowed import NarrowedClient
from utcp_bridge.access.profiles import read_profiles
from utcp_bridge.errors import ManualError, UnknownTool
from utcp_bridge.server.app import BridgeServer
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.upstream import ServerState

MANUALS = ("alpha", "beta", "gamma")
VERBS = ("read", "write", "delete", "list")
THINGS = ("orders", "users", "pages")
ERAS = ("2025-11-25", "2026-07-28")
PROPERTY = settings(max_examples=20, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))


@st.composite
def documents(draw):
    """Return manuals of tools that differ in name, tags, method and hints, with resources and prompts."""
    found = {}
    for manual in MANUALS:
        names = draw(st.sets(st.tuples(st.sampled_from(VERBS), st.sampled_from(THINGS)), max_size=5))
        found[manual] = [
            {
                "name": "_".join(name),
                "description": f"Do {name[0]} with {name[1]}.",
                "tags": draw(st.lists(st.sampled_from(("red", "blue")), unique=True)),
                "tool_call_template": {"call_template_type": "text", "content": f"{manual} {name}"},
            }
            for name in sorted(names)
        ]
    return found


def globs(values):
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


RULES = st.fixed_dictionaries(
    {},
    optional={
        "manuals": globs(("alpha", "b*", "gamma")),
        "names": globs(("*.read_*", "alpha.*", "write_*", "*users", "b*.list_orders")),
        "tags": globs(("red", "blue")),
    },
)
PROFILES = st.tuples(
    RULES,
    RULES,
    st.fixed_dictionaries(
        {},
        optional={
            "resources": st.sampled_from((True, False, ["alpha://*"], ["*://open*"])),
            "prompts": st.sampled_from((True, False, ["greet_a*"])),
        },
    ),
).map(lambda parts: {**parts[0], **({"exclude": parts[1]} if parts[1] else {}), **parts[2]})


def configuration(documents, profiles, only=None):
    """Return a configuration of manuals with tools, resources and prompts; those of one profile alone with `only`."""
    manuals = []
    for name, tools in documents.items():
        has = only is None or only.admits(name)
        uris = [uri for uri in (f"{name}://open/a", f"{name}://closed") if only is None or only.has_resource(uri)]
        prompts = [f"greet_{name}"] if only is None or only.has_prompt(f"greet_{name}") else []
        if has:
            manuals.append(
                {
                    "name": name,
                    "call_template_type": "text",
                    "content": {"utcp_version": "1.0.1", "tools": tools},
                    "resources": {uri: {"text": f"At {uri}."} for uri in uris},
                    "prompts": {prompt: {"text": f"Say {prompt}."} for prompt in prompts},
                }
            )
    return {
        "manual_call_templates": manuals,
        "bridge": {"structured_content": "always", "exposure": "all", "profiles": profiles},
    }


async def ask(server, method, params=None, *, version=ERAS[1]):
    """Return the result of a request, or its error, as text."""
    connection = Connection.from_envelope(version, {"name": "t", "version": "1"}, {})
    params = {**(params or {}), "_meta": MODERN_META}
    try:
        with anyio.fail_after(200):
            result = await serve_one(server, Exchange(), method, params, connection=connection, lifespan_state=None)
    except MCPError as error:
        result = error.error.model_dump(mode="json")
    return json.dumps(result, sort_keys=True, default=str)


REQUESTS = [
    ("server/discover", {}),
    ("tools/list", {}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("prompts/list", {}),
    *(("prompts/get", {"name": f"greet_{manual}"}) for manual in MANUALS),
    *(("resources/read", {"uri": f"{manual}://{path}"}) for manual in MANUALS for path in ("open/a", "closed")),
    *(
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": f"greet_{manual}"}, "argument": {"name": "a", "value": ""}},
        )
        for manual in MANUALS
    ),
    *(("tools/call", {"name": f"{manual}_{verb}_users"}) for manual in MANUALS for verb in VERBS),
    ("tools/call", {"name": "call_tool", "arguments": {"name": "alpha.write_users", "arguments": {}}}),
    ("tools/call", {"name": "bridge_status", "arguments": {}}),
    ("tools/call", {"name": "search_tools", "arguments": {}}),
    ("tools/call", {"name": "search_tools", "arguments": {"providers": ["b*"], "detail": "full"}}),
    ("tools/call", {"name": "search_tools", "arguments": {"query": "write_userz", "mode": "exact"}}),
    ("tools/call", {"name": "search_tools", "arguments": {"query": ".*orders", "mode": "regex", "limit": 2}}),
]


async def all_answers(server):
    return [await ask(server, *request) for request in REQUESTS]


def part(server, name):
    return BridgeServer(server.client, part=server.part.of(server.part.profiles.named(name, "test")))


def kept(documents, client, profile):
    """Return the manuals without the tools that a profile does not have."""
    return {
        manual: [one for one in tools if profile.includes(client.find(f"{manual}.{one['name']}"))]
        for manual, tools in documents.items()
    }


@PROPERTY
@given(documents(), PROFILES)
def test_no_answer_depends_on_a_tool_that_the_profile_does_not_have(documents, written):
    """A world with hidden tools, resources, prompts and manuals, and one without them, give the same bytes."""

    async def compare():
        async with await UtcpClient.create(configuration(documents, {"p": written})) as client:
            profile = read_profiles(client.settings).named("p", "test")
            fewer = kept(documents, client, profile)
            with_hidden = await all_answers(part(BridgeServer(client), "p"))
        async with await UtcpClient.create(configuration(fewer, {"p": written}, profile)) as client:
            assert await all_answers(part(BridgeServer(client), "p")) == with_hidden

    anyio.run(compare)


@PROPERTY
@given(documents(), PROFILES, PROFILES)
def test_two_profiles_side_by_side_show_and_call_only_their_own(documents, one, other):
    async def compare():
        config = configuration(documents, {"one": one, "other": other})
        async with await UtcpClient.create(config) as client:
            whole = BridgeServer(client)
            for name in ("one", "other"):
                profile = whole.part.profiles.named(name, "test")
                server = part(whole, name)
                own = {entry.name for entry in whole.catalogue.entries.values() if profile.includes(entry.tool)}
                assert set(server.catalogue.entries) == own  # under the names of the whole bridge
                assert [server.catalogue.entries[n] is whole.catalogue.entries[n] for n in own] == [True] * len(own)
                for query in ("read orders", "delete", "blue users"):
                    searched = {"name": "search_tools", "arguments": {"query": query, "limit": 3}}
                    text = await ask(server, "tools/call", searched)
                    found = json.loads(text)["structuredContent"]
                    assert {hit["name"] for hit in found["results"]} | set(found.get("did_you_mean", ())) <= own
                    ranked = client.search(query, limit=100, accept=profile.includes)
                    assert [hit["name"] for hit in found["results"]] == [
                        whole.catalogue.name_of(hit.tool) for hit in ranked[:3]
                    ]
                for entry in whole.catalogue.entries.values():
                    text = await ask(server, "tools/call", {"name": entry.name, "arguments": {}})
                    assert ("isError" in text) == (entry.name in own)

    anyio.run(compare)


@pytest.mark.anyio
async def test_a_manual_that_failed_shows_only_where_the_profile_may_have_its_tools():
    profiles = {"shop": {"manuals": "shop"}, "some": {"names": "shop.read*"}}
    client = StandIn(BridgeSettings(profiles=profiles))
    client.add("shop", "read")
    error = ManualError("tools[3] 'delete_all' has no template.")
    client.manuals = [Manual("shop", tools=1), Manual("secret", "failed"), Manual("shop2", "failed", error=error)]
    for name in profiles:
        server = part(BridgeServer(client), name)
        status = await ask(server, "tools/call", {"name": "bridge_status", "arguments": {}})
        assert "1 manual with 1 tool" in status
        assert "secret" not in status
        assert "shop2" not in status
        hidden = await ask(server, "tools/call", {"name": "secret_x", "arguments": {}})
        assert hidden.replace("secret", "sacred") == await ask(server, "tools/call", {"name": "sacred_x"})
    client.manuals = [Manual("shop", "failed", error=error)]
    status = await ask(part(BridgeServer(client), "shop"), "tools/call", {"name": "bridge_status", "arguments": {}})
    assert "shop: failed. tools[3] 'delete_all' has no template." in json.loads(status)["content"][0]["text"]
    status = await ask(part(BridgeServer(client), "some"), "tools/call", {"name": "bridge_status", "arguments": {}})
    assert "shop: failed. It could not be loaded." in status


@pytest.mark.anyio
async def test_why_a_server_is_away_shows_only_where_the_profile_has_whole_manuals():
    profiles = {"shop": {"manuals": "shop"}, "some": {"names": "shop.*"}}
    client = StandIn(BridgeSettings(profiles=profiles))
    client.add("shop", "read")
    client.manuals = [Manual("shop", tools=1, kind="mcp")]
    cause = "It ended with exit code 1; its stderr says: no password for /srv/orders."
    client.server_states = [
        ServerState("shop", "orders", "waiting", failure=cause),
        ServerState("shop", "bills", "needs login", failure="Log in."),
    ]
    seen = {}
    for name in profiles:
        reply = await ask(part(BridgeServer(client), name), "tools/call", {"name": "bridge_status", "arguments": {}})
        seen[name] = json.loads(reply)["content"][0]["text"]
        assert "shop.bills: needs login. Log in." in seen[name]
    assert f"shop.orders: waiting. {cause}" in seen["shop"]
    assert "/srv/orders" not in seen["some"]
    assert "shop.orders: waiting. It could not be reached." in seen["some"]


@pytest.mark.anyio
async def test_a_call_past_the_catalogue_is_refused_as_well():
    manuals = {"alpha": [{"name": "a", "tool_call_template": {"call_template_type": "text", "content": "x"}}]}
    async with await UtcpClient.create(configuration(manuals, {"p": {"manuals": "beta"}})) as client:
        narrowed = NarrowedClient(client, read_profiles(client.settings).named("p", "test"))
        with pytest.raises(UnknownTool):
            await narrowed.call(client.find_tool("alpha.a"), {})
        assert narrowed.find("alpha.a") is None
        assert narrowed.tools() == ()
        with pytest.raises(UnknownTool):
            narrowed.find_tool("a")


@pytest.mark.anyio
async def test_a_profile_knows_which_of_its_tools_report_no_progress():
    templates = {kind: {"call_template_type": kind, "url": "http://127.0.0.1:9/"} for kind in ("http", "sse")}
    tools = [{"name": kind, "tool_call_template": template} for kind, template in templates.items()]
    async with await UtcpClient.create(configuration({"alpha": tools}, {"p": {"manuals": "alpha"}})) as client:
        narrowed = part(BridgeServer(client), "p")
        names = ["alpha_http", "alpha_sse", "search_tools", "alpha_c"]
        assert [narrowed.is_silent(name) for name in names] == [True, False, False, False]
