"""Providers as classes."""

import pytest

from utcp_bridge import providers
from utcp_bridge.transports.registry import TransportRegistry


@pytest.mark.parametrize("name", [name for name in providers.__all__ if name != "Provider"])
def test_each_class_names_a_type_that_a_transport_serves(name: str) -> None:
    made = getattr(providers, name)(name="p", url="https://example.com")
    kind = "file" if made["provider_type"] == "text" else made["provider_type"]
    assert kind in TransportRegistry().find(kind).kinds
    assert made["name"] == "p"
    assert "example.com" not in repr(made)


def test_the_provider_type_can_be_repeated() -> None:
    assert providers.HttpProvider(name="p", provider_type="http", url="x") == {
        "provider_type": "http",
        "name": "p",
        "url": "x",
    }
