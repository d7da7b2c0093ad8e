"""Schemas that cannot be used, names and arguments that hosts see otherwise, schemas that are cut."""

from tests.support.server_client import StandIn

from utcp_bridge.catalogue.catalogue import Catalogue
from utcp_bridge.doctor.tools import look_at
from utcp_bridge.settings import BridgeSettings


def looked_at(manual, *tools, **settings):
    client = StandIn(settings=BridgeSettings(**settings))
    for name, fields in tools:
        client.add(manual, name, **fields)
    return look_at(Catalogue(client), manual)


def test_tools_in_order_are_told_in_one_sentence():
    found = looked_at("shop", ("buy", {"inputs": {"type": "object", "properties": {"id": {"type": "integer"}}}}))
    assert (found.status, found.message, found.details) == ("ok", "Names and schemas are listed as they are.", ())


def test_a_schema_that_is_not_valid_is_a_warning_with_its_place():
    found = looked_at("shop", ("buy", {"inputs": {"type": "object", "properties": {"id": {"type": "whole"}}}}))
    assert found.status == "warning"
    assert "1 schema that is not valid" in found.message
    assert "error: tool 'shop.buy', /inputs/properties/id/type:" in found.details[0]


def test_an_output_schema_is_looked_at_too():
    found = looked_at("shop", ("buy", {"outputs": {"type": "object", "required": "id"}}))
    assert "/outputs/required" in found.details[0]


def test_a_name_and_an_argument_that_change_for_hosts_are_notes():
    found = looked_at("shop", ("buy now!", {"inputs": {"type": "object", "properties": {"item[]": {}}}}))
    assert found.status == "ok"
    assert "2 names changed" in found.message
    assert found.details[0] == "note: tool 'shop.buy now!' is listed as shop_buy_now"
    assert "the argument 'item[]' is listed as item" in found.details[1]


def test_a_schema_that_is_cut_is_a_warning_with_the_setting():
    properties = {f"argument_{number}": {"type": "string", "description": "long " * 30} for number in range(30)}
    found = looked_at("shop", ("buy", {"inputs": {"type": "object", "properties": properties}}), max_schema_bytes=600)
    assert found.status == "warning"
    assert "`max_schema_bytes`" in found.remedy
    assert found.details[0].startswith("warning: tool 'shop.buy': ")


def test_a_manual_without_tools_is_skipped():
    assert looked_at("shop").status == "skipped"
