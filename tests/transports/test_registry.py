from importlib.metadata import EntryPoint
from typing import Any

import pytest
from tests.support.source import SOURCE, transport_modules, transport_name

from utcp_bridge.errors import ConfigError
from utcp_bridge.model import Call, Document, Emit
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.transport import Target, Transport
from utcp_bridge.transports import registry as transport_registry
from utcp_bridge.transports.registry import ENTRY_POINT_GROUP, TransportRegistry


class PigeonTemplate(CallTemplate):
    loft: str = ""


class PigeonTransport(Transport[PigeonTemplate]):
    kinds = ("pigeon", "carrier_pigeon")
    template = PigeonTemplate

    async def discover(self, target: Target[PigeonTemplate]) -> Document:
        raise NotImplementedError

    async def call(self, target: Target[PigeonTemplate], call: Call, emit: Emit) -> Any:
        raise NotImplementedError


def test_each_module_of_the_package_has_one_transport_found_by_its_kinds() -> None:
    registry = TransportRegistry()
    modules = {transport_name(path): path for path in transport_modules()}
    assert {"http", "text", "file", "grpc"} <= modules.keys()
    for name, path in modules.items():
        transport = registry.find(name)
        assert transport.__module__ == ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        assert transport.kinds[0] == name


def test_transports_of_the_calling_program_come_first() -> None:
    registry = TransportRegistry((PigeonTransport,))
    assert registry.find("carrier_pigeon") is PigeonTransport
    assert registry.canonical("carrier_pigeon") == "pigeon"


def test_an_unknown_kind_names_the_nearest_ones() -> None:
    with pytest.raises(ConfigError, match=r"no transport of type 'htpp'.*http"):
        TransportRegistry().find("htpp")


def test_the_fields_of_a_kind_include_aliases() -> None:
    fields = TransportRegistry().fields("http")
    assert fields is not None
    assert {"url", "http_method", "call_template_type", "auth"} <= fields
    assert TransportRegistry().fields("no_such_kind") is None


def entry(value: str) -> EntryPoint:
    return EntryPoint(name="pigeon", value=value, group=ENTRY_POINT_GROUP)


def test_an_installed_package_adds_a_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    found = entry(f"{__name__}:PigeonTransport")
    monkeypatch.setattr(EntryPoint, "load", lambda _self: PigeonTransport)
    monkeypatch.setattr(transport_registry, "entry_points", lambda *, group: [found] if group else [])
    assert TransportRegistry().find("pigeon") is PigeonTransport


@pytest.mark.parametrize(
    ("value", "message"),
    [("no_such_package.at_all:Thing", "cannot be loaded"), ("pathlib:Path", "is not a transport")],
)
def test_the_error_names_a_broken_package(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    monkeypatch.setattr(transport_registry, "entry_points", lambda *, group: [entry(value)] if group else [])
    with pytest.raises(ConfigError, match=message):
        TransportRegistry().find("pigeon")
