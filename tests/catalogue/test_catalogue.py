"""The catalogue: names, entries, exposures and pages."""

from pathlib import Path

import orjson
import pytest
from tests.support.server_client import StandIn
from tests.support.tools import make_tool
from tests.support.work import calls_made_by
from tests.upstreams.registry_service import Answers, served

from utcp_bridge.catalogue.catalogue import Catalogue
from utcp_bridge.catalogue.exposure import exposure_for
from utcp_bridge.catalogue.naming import assign_names
from utcp_bridge.client.client import UtcpClient
from utcp_bridge.client.extensions import Extensions
from utcp_bridge.errors import StaleCursor, UnknownTool
from utcp_bridge.settings import BridgeSettings, ExposureLimits, MetaToolNames, UtcpClientConfig

INPUTS = {"type": "object", "properties": {"$top": {"type": "integer"}, "q": {"type": "string"}}}


def client_of(count=0, **settings):
    client = StandIn(BridgeSettings(**settings))
    for number in range(count):
        client.add("m", f"tool{number:05}", description=f"Number {number}.")
    return client


def names(page):
    return [tool["name"] for tool in page.tools]


def walk(catalogue):
    found, cursor = [], None
    while True:
        page = catalogue.page(cursor)
        found.append(names(page))
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_an_entry_has_the_size_and_the_digest_of_its_json():
    client = client_of(2)
    client.add("m", "composed", inputs={"type": "object", "properties": {}, "anyOf": [{"required": ["a"]}]})
    entries = {entry.name: entry for entry in Catalogue(client).listed}
    sizes = [entry.weight[0] for entry in entries.values()]
    assert sizes == [len(orjson.dumps(entry.listed)) for entry in entries.values()]
    composed = entries["m_composed"]
    assert composed.composed_weight[0] == len(orjson.dumps(composed.composed))
    assert composed.composed_weight[1] != composed.weight[1]
    plain, other = entries["m_tool00000"], entries["m_tool00001"]
    assert plain.weight[1] != other.weight[1]
    assert plain.composed_weight is plain.weight


def test_a_tool_is_resolved_by_its_mcp_name_its_utcp_name_and_every_alias():
    client = client_of(aliases={"first": "m.a", "second": "m.a", "gone": "m.none"})
    tool = client.add("m", "a")
    other = client.add("m", "b.c")
    catalogue = Catalogue(client)
    assert names(catalogue.page()) == ["first", "m_b_c"]
    assert [catalogue.resolve(name).tool for name in ("first", "second", "m.a")] == [tool] * 3
    assert [catalogue.resolve(name).tool for name in ("m_b_c", "m.b.c")] == [other] * 2
    assert catalogue.resolve("gone") is None
    assert catalogue.resolve("m_a") is None


def test_a_tool_is_found_by_each_of_its_names():
    client = client_of()
    tool = client.add("m", "a.b")
    catalogue = Catalogue(client)
    assert [catalogue.find_tool(name, remedy="").tool for name in ("m.a.b", "m_a_b", "a.b")] == [tool] * 3
    with pytest.raises(UnknownTool) as caught:
        catalogue.find_tool("m.a.c", remedy="Look around.")
    assert str(caught.value) == "There is no tool 'm.a.c'. Did you mean m.a.b? Look around."


def test_listed_argument_names_are_mapped_to_the_tools_own():
    client = client_of()
    client.add("m", "t", inputs=INPUTS)
    entry = Catalogue(client).resolve("m_t")
    assert entry.own_arguments({"top": 3, "q": "x"}) == {"$top": 3, "q": "x"}
    assert entry.own_arguments({"$top": 3}) == {"$top": 3}


def test_root_combinators_are_listed_for_protocol_versions_that_allow_them():
    client = client_of()
    client.add("m", "plain")
    client.add("m", "composed", inputs={"type": "object", "properties": {}, "anyOf": [{"required": ["a"]}]})
    catalogue = Catalogue(client)
    folded, composed = catalogue.page().tools, catalogue.page(composed=True).tools
    assert [tool["name"] for tool in folded] == [tool["name"] for tool in composed]
    assert folded[0] is composed[0]
    assert "anyOf" not in folded[1]["inputSchema"]
    assert composed[1]["inputSchema"]["anyOf"] == [{"required": ["a"]}]


def test_pages_follow_one_another_and_end():
    catalogue = Catalogue(client_of(25, page_size=10), lambda _counts: [{"name": "search_tools", "inputSchema": {}}])
    pages = walk(catalogue)
    assert [len(page) for page in pages] == [11, 10, 5]
    assert [name for page in pages for name in page] == [
        "search_tools",
        *(f"m_tool{number:05}" for number in range(25)),
    ]


def test_a_catalogue_of_exactly_one_page_has_no_cursor():
    assert Catalogue(client_of(10, page_size=10)).page().next_cursor is None


def heavy(count, characters, **settings):
    """A client of tools with definitions of about this size."""
    client = StandIn(BridgeSettings(exposure="all", **settings))
    schema = {"type": "object", "properties": {"p": {"type": "string", "description": "d" * characters}}}
    client.add_many("m", [f"tool{number:05}" for number in range(count)], inputs=schema)
    return client


def pages(catalogue, *, composed=False):
    found = [catalogue.page(composed=composed)]
    while found[-1].next_cursor is not None:
        found.append(catalogue.page(found[-1].next_cursor, composed=composed))
    return found


@pytest.mark.parametrize("count", [1_000, 1_500])
def test_a_list_is_one_page_unless_it_is_too_large(count):
    assert len(pages(Catalogue(heavy(count, 100)))) == 1


@pytest.mark.parametrize(("composed", "most"), [(False, 512 * 1024), (True, 1024 * 1024)])
def test_a_page_ends_before_it_is_too_large(composed, most):
    found = pages(Catalogue(heavy(700, 10_000)), composed=composed)
    sizes = [len(orjson.dumps(page.tools)) for page in found]
    assert all(most - 20_000 < size < most for size in sizes[:-1])
    assert len(sizes) > 1
    assert sum(len(page.tools) for page in found) == 700


def test_a_definition_larger_than_a_page_is_listed_alone():
    client = heavy(2, 100, max_schema_bytes=2_000_000)
    huge = {"type": "object", "properties": {"p": {"type": "string", "description": "d" * 600_000}}}
    client.add("m", "tool00001b", inputs=huge)
    client.add("m", "tool00002")
    found = pages(Catalogue(client, lambda _counts: [{"name": "search_tools", "inputSchema": {}}]))
    assert [names(page) for page in found] == [
        ["search_tools", "m_tool00000", "m_tool00001"],
        ["m_tool00001b"],
        ["m_tool00002"],
    ]


def test_a_count_of_tools_can_end_a_page_earlier():
    assert [len(page.tools) for page in pages(Catalogue(heavy(5, 10, page_size=2)))] == [2, 2, 1]


def test_a_page_is_made_in_steps_of_at_most_one_tool():
    view = Catalogue(heavy(20, 10)).view()
    assert len(list(view.steps_at(0))) >= 20
    assert list(view.steps_at(0)) == []
    assert view.page() is view.page_at(0)


def test_two_pages_have_the_same_digest_if_a_client_gets_the_same_bytes():
    one, same, other, fewer = (Catalogue(client_of(count)) for count in (4, 4, 5, 4))
    fewer._settings = fewer._settings.model_copy(update={"page_size": 2})
    assert one.page().digest == same.page().digest
    assert one.page().digest != other.page().digest
    assert names(one.page())[:2] == names(fewer.page())
    meta = {"name": "search_tools", "inputSchema": {}}
    described = Catalogue(client_of(4), lambda _counts: [{**meta, "description": "Four."}])
    assert described.page().digest != Catalogue(client_of(4), lambda _counts: [meta]).page().digest
    first = fewer.page()
    assert first.digest != fewer.page(first.next_cursor).digest


def test_a_description_that_changes_changes_the_digest_of_its_page_alone():
    client = client_of(4, page_size=2)
    catalogue = Catalogue(client)
    before = [page.digest for page in pages(catalogue)]
    client.add("m", "tool00003", description="Another one.")
    after = [page.digest for page in pages(catalogue)]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]


def test_a_view_is_current_until_the_tools_change():
    client = client_of(2)
    catalogue = Catalogue(client)
    view = catalogue.view()
    assert catalogue.is_current(view)
    client.add("m", "new")
    assert not catalogue.is_current(view)
    assert catalogue.is_current(catalogue.view())


def test_the_schemas_of_the_meta_tools_are_listed_as_hosts_accept_them():
    schema = {"type": "object", "properties": {"a": {"type": "array"}}, "additionalProperties": False}
    (listed,) = Catalogue(client_of(), lambda _counts: [{"name": "search_tools", "inputSchema": schema}]).meta_tools
    assert listed["inputSchema"] == {"type": "object", "properties": {"a": {"type": "array", "items": {}}}}
    assert schema["additionalProperties"] is False


def test_a_cursor_of_one_replica_is_valid_for_another():
    one, other = (Catalogue(client_of(25, page_size=10)) for _ in range(2))
    assert names(one.page(other.page().next_cursor)) == names(one.page(one.page().next_cursor))


@pytest.mark.parametrize("cursor", ["", "x", "ü", "=", "MTAu", "MTAuYWJj", "LTEuMA", "9" * 500])
def test_a_malformed_cursor_is_an_error_with_a_remedy(cursor):
    with pytest.raises(StaleCursor, match="again without a cursor"):
        Catalogue(client_of(25, page_size=10)).page(cursor)


def test_a_cursor_of_an_earlier_list_is_stale():
    client = client_of(25, page_size=10)
    catalogue = Catalogue(client)
    cursor = catalogue.page().next_cursor
    client.add("m", "new")
    with pytest.raises(StaleCursor):
        catalogue.page(cursor)


def test_pages_and_entries_are_kept_until_the_tools_change():
    client = client_of(3)
    catalogue = Catalogue(client)
    first, entry = catalogue.page(), catalogue.resolve("m_tool00001")
    assert catalogue.page() is first
    client.add("m", "new")
    assert catalogue.page() is not first
    assert catalogue.resolve("m_tool00001") is entry


def test_a_tool_that_is_renamed_gets_a_new_entry():
    client = client_of()
    client.add("m", "Twin")
    catalogue = Catalogue(client)
    before = catalogue.resolve("m_Twin")
    client.add("m", "twin")
    after = catalogue.resolve("m.Twin")
    assert before.tool is after.tool
    assert before.name != after.name
    assert catalogue.resolve("m_Twin") is None


def test_output_schemas_are_not_listed_when_results_are_never_structured():
    client = client_of(structured_content="never")
    client.add("m", "t", outputs={"type": "object"})
    (entry,) = Catalogue(client).listed
    assert "outputSchema" not in entry.listed
    assert entry.conform is None


@pytest.mark.parametrize(("roots", "listed"), [((), ["size"]), (("files",), ["size", "output_path"])])
def test_a_tool_that_returns_bytes_lists_output_path_if_callers_may_name_files(roots, listed):
    client = client_of(file_roots=roots)
    client.add("m", "t", inputs={"type": "object", "properties": {"size": {}}}, returns_bytes=True)
    (entry,) = Catalogue(client).listed
    assert list(entry.listed["inputSchema"]["properties"]) == listed


def test_only_a_schema_with_arguments_in_headers_is_compared_with_headers():
    client = client_of(1)
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    client.add("m", "here", inputs=schema)
    meta = {"name": "search_tools", "inputSchema": {"type": "object"}}
    catalogue = Catalogue(client, lambda _counts: [meta])
    assert catalogue.schema_with_headers("m_here") == schema
    for name in ("search_tools", "m_tool00000", "none"):
        assert catalogue.schema_with_headers(name) is None, name


HTTP = {"call_template_type": "http", "url": "https://api.example.com/x"}
"""Where no test calls anything."""


@pytest.mark.anyio
@pytest.mark.parametrize("naming", ["qualified", "short"])
async def test_names_of_a_manual_that_is_down_lead_to_no_other_manual(naming):
    def manual(*tools):
        return {"utcp_version": "1.0.1", "tools": [{"name": name, "tool_call_template": HTTP} for name in tools]}

    alike = ("pay", "refund", "shop_refund", "shop.refund", "SHOP_list", "list")
    service = Answers({"/shop": 503, "/other": manual(*alike), "/s": manual(*(f"hop_{name}" for name in alike))})
    aliases = {"pay": "shop.pay", "give_back": "shop.refund", "gone": "none.at_all"}
    names = {"pay", "give_back", "shop_pay", "shop.pay", "shop_refund", "shop.refund", "SHOP_list", "gone"}
    with served(service.app) as base:
        entries = [
            {"name": name, "call_template_type": "http", "url": f"{base}/{name}"} for name in ("shop", "other", "s")
        ]
        config = {"manual_call_templates": entries, "bridge": {"naming": naming, "aliases": aliases}}
        async with await UtcpClient.create(config) as client:
            catalogue = Catalogue(client)
            assert {tool.manual for tool in client.tools()} == {"other", "s"}
            assert {name: catalogue.resolve(name) for name in names} == dict.fromkeys(names)
            for name in names - {"gone"}:
                with pytest.raises(UnknownTool, match=r"Manual 'shop' is not loaded: .*503"):
                    catalogue.find_tool(name, remedy="")
            before = {tool: catalogue.name_of(tool) for tool in client.tools()}
            service.answers["/shop"] = manual("pay", "refund", "list")
            await client.refresh("shop")
            for name, tool in (("pay", "pay"), ("give_back", "refund"), ("shop_list", "list"), ("shop.pay", "pay")):
                assert catalogue.resolve(name).tool.qualified_name == f"shop.{tool}"
            after = {tool: catalogue.name_of(tool) for tool in client.tools()}
            if naming == "qualified":
                assert before.items() <= after.items()
            assert all(catalogue.resolve(name).tool == tool for tool, name in before.items())


def test_a_removed_tool_is_named_by_its_utcp_name():
    client = client_of(1)
    stranger = StandIn().add("x", "y")
    catalogue = Catalogue(client)
    assert catalogue.name_of(stranger) == "x.y"
    assert catalogue.definition_of(stranger) == {}
    (tool,) = client.tools()
    assert catalogue.name_of(tool) == "m_tool00000"
    assert catalogue.definition_of(tool)["name"] == "m_tool00000"


def test_counts_are_per_manual():
    client = client_of(2)
    client.add("n", "x")
    assert Catalogue(client).counts() == {"m": 2, "n": 1}


@pytest.mark.parametrize("inputs", [None, [], "x", {"type": "string"}, {"properties": {"\ud800": {}}}, {"$ref": "#"}])
def test_one_bad_schema_leaves_the_other_tools_intact(inputs):
    client = client_of(2)
    client.add("m", "zbad", inputs=inputs, outputs={"type": 3, "properties": 4})
    page = Catalogue(client).page()
    assert len(page.tools) == 3
    orjson.dumps(page.tools)


def work_of_listing(count):
    """Return the number of calls that naming this many tools takes, and that listing all of them takes then."""
    client = StandIn(BridgeSettings(exposure="all"))
    properties = {
        f"parameter{number}": {"type": "string", "description": "What it is for, in a few words."}
        for number in range(7)
    }
    client.add_many(
        "m", [f"operation_{number}" for number in range(count)], inputs={"type": "object", "properties": properties}
    )
    catalogue = Catalogue(client)
    naming = calls_made_by(lambda: catalogue.resolve("m_operation_77"))
    listing = calls_made_by(lambda: walk(catalogue))
    assert sum(len(page) for page in walk(catalogue)) == count
    assert catalogue.resolve("m_operation_77").tool.name == "operation_77"
    return naming, listing


def test_the_work_for_each_tool_does_not_grow_with_the_number_of_tools():
    naming, listing = work_of_listing(2_000)
    naming_fewer, listing_fewer = work_of_listing(500)
    assert naming < 4.2 * naming_fewer
    assert listing < 4.2 * listing_fewer
    assert naming < 40 * 2_000
    assert listing < 600 * 2_000


def test_an_entry_has_all_fields_for_a_host():
    client = client_of()
    client.add(
        "shop",
        "orders.list",
        description="List\u200b orders.",
        inputs=INPUTS,
        outputs={"type": "array", "items": {"type": "string"}},
        tags=("order", "\u202e", "read"),
        annotations={"readOnlyHint": True, "destructiveHint": "no", "other": 1},
        deprecated=True,
    )
    (listed,) = Catalogue(client).page().tools
    assert listed == {
        "name": "shop_orders_list",
        "title": "shop.orders.list",
        "description": "Deprecated. List orders.",
        "inputSchema": {"type": "object", "properties": {"top": {"type": "integer"}, "q": {"type": "string"}}},
        "outputSchema": {"type": "object", "properties": {"result": {"type": "array", "items": {"type": "string"}}}},
        "annotations": {"readOnlyHint": True},
        "_meta": {"utcp/name": "shop.orders.list", "utcp/tags": ["order", "read"], "utcp/renamed": {"top": "$top"}},
    }


def test_a_title_of_its_own_is_kept_and_long_descriptions_are_cut():
    client = client_of()
    client.add("m", "t", title="A\ntitle", description="word " * 1000)
    (listed,) = Catalogue(client).page().tools
    assert listed["title"] == "A title"
    assert len(listed["description"]) <= 1024


META = {"name": "search_tools", "inputSchema": {"type": "object"}}
FEW = ExposureLimits(tools=4)


def catalogue_of(count=5, **settings):
    client = StandIn(BridgeSettings(**settings))
    for number in range(count):
        client.add("m", f"tool{number:05}", description=f"Number {number}.")
    return Catalogue(client, lambda _counts: [META]), client


@pytest.mark.parametrize(
    ("settings", "listed"),
    [
        ({}, 5),
        ({"exposure_limits": FEW}, 0),
        ({"exposure_limits": FEW, "exposure": "all"}, 5),
        ({"exposure_limits": ExposureLimits(tokens=50)}, 0),
        ({"exposure": "search"}, 0),
        ({"exposure": "search", "pinned": ("m.tool00003", "*_tool00004")}, 2),
        ({"exposure": "pinned", "pinned": ("m.tool00003",)}, 1),
        ({"exposure_limits": FEW, "meta_tools": MetaToolNames(search=None)}, 5),
        ({"exposure_limits": FEW, "meta_tools": MetaToolNames(call=None)}, 5),
    ],
)
def test_exposure_decides_what_is_listed_but_not_what_can_be_called(settings, listed):
    catalogue, client = catalogue_of(**settings)
    assert len(catalogue.listed) == listed
    assert sum(catalogue.view().is_listed(tool) for tool in client.tools()) == listed
    assert len(catalogue.entries) == 5
    assert catalogue.resolve("m_tool00000") is not None


def test_the_exposure_pinned_lists_no_meta_tools():
    catalogue, _ = catalogue_of(exposure="pinned", pinned=("m.tool00003",))
    assert [tool["name"] for tool in catalogue.page().tools] == ["m_tool00003"]


def test_a_client_gets_the_first_exposure_whose_pattern_fits_its_name():
    settings = BridgeSettings(exposure_by_client={"Cursor*": "search", "*": "all"}, exposure="pinned")
    assert exposure_for(settings, "cursor-vscode") == "search"
    assert exposure_for(settings, "Inspector") == "all"
    assert exposure_for(settings, None) == "pinned"


@pytest.mark.parametrize(
    ("count", "client", "settings", "listed"),
    [
        (40, None, {}, 40),
        (41, None, {}, 0),
        (41, "cursor", {}, 0),
        (41, "claude-code", {}, 41),
        (500, "claude-code", {}, 500),
        (501, "claude-code", {}, 0),
        (41, "claude-code", {"exposure_limits": {"tools": 40}}, 0),
        (41, "claude-code", {"exposure": "search"}, 0),
        (41, "claude-code", {"exposure_by_client": {"claude*": "search"}}, 0),
    ],
)
def test_auto_lists_few_tools_and_more_to_a_host_that_searches_the_list_itself(count, client, settings, listed):
    catalogue, _ = catalogue_of(count, **settings)
    assert len(catalogue.view(client).listed) == listed


def test_auto_lists_at_most_ten_thousand_tokens():
    client = StandIn()
    for number in range(12):
        client.add("m", f"tool{number}", inputs={"type": "object", "properties": {"p": {"description": "x" * 4_000}}})
    catalogue = Catalogue(client, lambda _counts: [META])
    assert len(catalogue.view().listed) == 0
    assert len(catalogue.view("claude-code").listed) == 12


def test_each_clients_exposure_has_its_own_list_and_cursors():
    catalogue, client = catalogue_of(exposure="all", page_size=2, exposure_by_client={"cursor*": "search"})
    first = catalogue.page(client="Inspector")
    assert len(first.tools) == 3
    assert [tool["name"] for tool in catalogue.page(client="cursor").tools] == ["search_tools"]
    with pytest.raises(StaleCursor):
        catalogue.page(first.next_cursor, client="cursor")
    assert not catalogue.view("cursor").is_listed(client.tools()[0])
    assert catalogue.view("Inspector").is_listed(client.tools()[0])


# --- refreshes


def live_client(**settings):
    """A client with a real repository, to which tests give tools."""
    config = UtcpClientConfig(bridge=BridgeSettings(exposure="all", **settings))
    return UtcpClient(config, root=Path(), extensions=Extensions())


def tools_of(count, description="A tool.", manual="m"):
    return [make_tool(f"t{number}", manual=manual, description=description) for number in range(count)]


def counted_names(monkeypatch):
    """Return the numbers of tools to which names were assigned, one for each time."""
    assigned = []

    def assign(tools, **options):
        assigned.append(len(tools))
        return assign_names(tools, **options)

    monkeypatch.setattr("utcp_bridge.catalogue.catalogue.assign_names", assign)
    return assigned


@pytest.mark.parametrize("naming", ["qualified", "short"])
def test_a_refresh_of_definitions_replaces_these_entries_and_assigns_no_names(monkeypatch, naming):
    assigned = counted_names(monkeypatch)
    client = live_client(naming=naming, aliases={"best": "m.t1", "other": "m.t1"})
    before = tools_of(3)
    client.repository.replace("m", before)
    catalogue = Catalogue(client)
    entries, names_before = dict(catalogue.entries), names(catalogue.page())
    rounds = len(assigned)
    client.repository.replace("m", [*before[:1], *tools_of(3, "Another.")[1:]])
    page = catalogue.page()
    assert names(page) == names_before
    assert [tool["description"] for tool in page.tools] == ["A tool.", "Another.", "Another."]
    assert catalogue.resolve("m.t0") is entries[names_before[0]]
    for name in ("best", "other", "m.t1", "m_t2", "m.t2"):
        assert catalogue.resolve(name).tool.description == "Another.", name
    assert catalogue.name_of(client.find("m.t2")) == names_before[2]
    assert catalogue.name_of(before[2]) == "m.t2", "it is not there any more"
    assert len(assigned) == rounds
    client.repository.replace("m", tools_of(2, "Another."))
    assert names(catalogue.page()) == names_before[:2]
    assert len(assigned) > rounds


def test_a_catalogue_that_missed_changes_assigns_names_again():
    client = live_client()
    client.repository.replace("m", tools_of(2))
    catalogue = Catalogue(client)
    assert len(catalogue.entries) == 2
    client.repository.replace("n", tools_of(1, manual="n"))
    client.repository.replace("m", tools_of(2, "Another."))
    assert [entry.tool.description for entry in catalogue.entries.values()] == ["Another.", "Another.", "A tool."]


def test_tools_that_share_a_schema_are_listed_with_one_schema():
    client = live_client()
    schema = {"type": "object", "properties": {"a": {"type": "string", "format": "date"}}}
    client.repository.replace(
        "m", [make_tool(f"t{number}", manual="m", inputs=schema, outputs=schema) for number in range(3)]
    )
    first, second, _ = Catalogue(client).page().tools
    assert first["inputSchema"] is second["inputSchema"]
    assert first["outputSchema"] is second["outputSchema"]


def test_a_manual_that_changes_for_ever_is_listed_in_full(monkeypatch):
    monkeypatch.setattr("utcp_bridge.catalogue.catalogue._MAX_MANUAL_NODES", 50)
    client = live_client()
    catalogue = Catalogue(client)
    for number in range(20):
        schema = {"type": "object", "properties": {f"p{at}": {"type": "string"} for at in range(5 + number % 2)}}
        client.repository.replace("m", [make_tool("t", manual="m", inputs=schema)])
        assert catalogue.page().tools[0]["inputSchema"]["properties"] == schema["properties"]
