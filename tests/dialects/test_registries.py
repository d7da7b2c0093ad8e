import pytest

from utcp_bridge.dialects import read_config
from utcp_bridge.dialects.readings import Notes
from utcp_bridge.dialects.registries import PASSED_ON, read_registries
from utcp_bridge.settings import ManualOptions

URL = "https://registry.example.com/api"


def read(*items):
    notes = Notes()
    return list(read_registries(list(items), "c", notes)), [f"{fault.severity} {fault}" for fault in notes.faults]


def test_a_registry_is_an_address_or_an_object():
    registries, faults = read(
        URL, {"registry": "./list.json", "tags": ["a"], "q": "x", "limit": 3, "sha256": {"m": "0"}}
    )
    assert registries == [
        {"registry": URL, "name": "registry_example_com"},
        {"registry": "./list.json", "name": "list", "tags": ["a"], "q": "x", "limit": 3, "sha256": {"m": "0"}},
    ]
    assert faults == []


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (3, "a number, not an object or a URL"),
        ({}, "names no `registry`"),
        ("  ", "names no `registry`"),
        ({"registry": URL, "name": 3}, "the name is a number"),
        ({"registry": URL, "tags": "x"}, "`tags`"),
        ({"registry": URL, "tags": [1]}, "`tags`"),
        ({"registry": URL, "q": []}, "`q` is a list"),
        ({"registry": URL, "limit": 0}, "`limit`"),
        ({"registry": URL, "limit": True}, "`limit`"),
        ({"registry": URL, "sha256": "abc"}, "`sha256`"),
        ({"registry": URL, "sha256": {"a": 1}}, "`sha256`"),
        ({"registry": URL, "name": "good"}, "also named 'good'"),
    ],
)
def test_a_registry_that_cannot_be_used_costs_no_other(item, words):
    registries, [fault] = read({"registry": URL, "name": "good"}, item, {"registry": URL, "name": "late"})
    assert [registry["name"] for registry in registries] == ["good", "late"]
    assert fault.startswith("error c: registry 2:")
    assert words in fault


def test_keys_that_a_registry_may_not_have_are_told_and_dropped():
    [registry], faults = read({"registry": URL, "trusted": True, "auth_tools": {}, "tag": ["x"], "x-note": 1})
    assert registry.keys() == {"registry", "name"}
    assert len(faults) == 3
    assert any("cannot be trusted" in fault for fault in faults)
    assert any("Did you mean 'tags'?" in fault for fault in faults)


def test_what_is_passed_on_are_keys_of_a_manual_and_hand_out_nothing():
    assert set(ManualOptions.model_fields) >= PASSED_ON
    assert not PASSED_ON & {"trusted", "auth_tools", "base_url", "client_cert", "client_key", "server_variables"}


def test_a_configuration_has_them_under_registries():
    reading = read_config({"registries": [URL, {}]}, where="c")
    assert [registry["name"] for registry in reading.client["registries"]] == ["registry_example_com"]
    assert "registry 2" in str(reading.faults[0])
    assert "not a list" in str(read_config({"registries": {}}, where="c").faults[0])
