"""One tool as hosts see it."""

from tests.support.server_client import StandIn

from utcp_bridge.catalogue.catalogue import Catalogue
from utcp_bridge.settings import BridgeSettings

INPUTS = {"type": "object", "properties": {"$top": {"type": "integer"}, "q": {"type": "string"}}}


def client_of(**settings):
    return StandIn(BridgeSettings(**settings))


def test_an_entry_says_all_that_a_host_needs():
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
