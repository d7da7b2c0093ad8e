"""What each exposure lists, for all clients and for some."""

import pytest
from tests.support.server_client import StandIn

from utcp_bridge.catalogue.catalogue import Catalogue
from utcp_bridge.catalogue.exposure import exposure_for
from utcp_bridge.errors import StaleCursor
from utcp_bridge.settings import BridgeSettings, ExposureLimits, MetaTools

META = {"name": "search_tools", "inputSchema": {"type": "object"}}
FEW = ExposureLimits(tools=4)


def catalogue_of(count=5, **settings):
    client = StandIn(BridgeSettings(**settings))
    for number in range(count):
        client.add("m", f"tool{number:05}", description=f"Number {number}.")
    return Catalogue(client, lambda: [META]), client


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
        ({"exposure_limits": FEW, "meta_tools": MetaTools(search=None)}, 5),
        ({"exposure_limits": FEW, "meta_tools": MetaTools(call=None)}, 5),
    ],
)
def test_exposure_decides_what_is_listed_but_not_what_can_be_called(settings, listed):
    catalogue, client = catalogue_of(**settings)
    assert len(catalogue.listed) == listed
    assert sum(catalogue.view().is_listed(tool) for tool in client.tools()) == listed
    assert len(catalogue.entries) == 5
    assert catalogue.resolve("m_tool00000") is not None


def test_what_is_pinned_alone_stands_without_the_meta_tools():
    catalogue, _ = catalogue_of(exposure="pinned", pinned=("m.tool00003",))
    assert [tool["name"] for tool in catalogue.page().tools] == ["m_tool00003"]


def test_a_client_gets_the_first_exposure_whose_pattern_fits_its_name():
    settings = BridgeSettings(exposure_by_client={"Cursor*": "search", "*": "all"}, exposure="pinned")
    assert exposure_for(settings, "cursor-vscode") == "search"
    assert exposure_for(settings, "Inspector") == "all"
    assert exposure_for(settings, None) == "pinned"


def test_clients_see_lists_of_their_own_and_cursors_do_not_cross():
    catalogue, client = catalogue_of(exposure="all", page_size=2, exposure_by_client={"cursor*": "search"})
    first = catalogue.page(client="Inspector")
    assert len(first.tools) == 3
    assert [tool["name"] for tool in catalogue.page(client="cursor").tools] == ["search_tools"]
    with pytest.raises(StaleCursor):
        catalogue.page(first.next_cursor, client="cursor")
    assert not catalogue.view("cursor").is_listed(client.tools()[0])
    assert catalogue.view("Inspector").is_listed(client.tools()[0])
