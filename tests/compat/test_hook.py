"""The import hook: which modules exist, and that installing it is undone."""

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

import utcp_bridge.compat
from utcp_bridge.compat.hook import MODULES


@pytest.fixture
def _hooked() -> Iterator[None]:
    utcp_bridge.compat.install()
    yield
    utcp_bridge.compat.uninstall()


@pytest.mark.usefixtures("_hooked")
@pytest.mark.parametrize("name", MODULES)
def test_each_module_can_be_imported(name: str) -> None:
    assert importlib.import_module(name).__name__ == name


@pytest.mark.usefixtures("_hooked")
@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("utcp", "Tool Provider HttpProvider UTCPClient"),
        ("utcp.adapters.langchain", "UTCPToolkit"),
        ("utcp.client.tool_repositories.in_mem_tool_repository", "InMemToolRepository"),
        ("utcp.client.tool_search_strategies.tag_search", "TagSearchStrategy"),
        ("utcp.client.client_transport_interface", "ClientTransportInterface"),
        ("utcp.client.transport_interfaces.http_transport", "HttpClientTransport"),
        ("utcp.client.utcp_client_config", "UtcpClientConfig UtcpDotEnv UtcpVariableNotFound"),
        ("utcp.converters", "openapi_to_utcp"),
        ("utcp.data.auth_implementations", "ApiKeyAuth BasicAuth OAuth2Auth"),
        ("utcp.plugins.discovery", "register_call_template register_communication_protocol"),
        ("utcp.shared.provider", "HttpProvider MCPProvider TextProvider"),
        ("utcp_http.openapi_converter", "OpenApiConverter"),
        ("utcp_socket.tcp_call_template", "TCPProvider TCPProviderSerializer"),
    ],
)
def test_a_module_has_the_names_of_the_reference_library(module: str, names: str) -> None:
    assert all(hasattr(importlib.import_module(module), name) for name in names.split())


@pytest.mark.usefixtures("_hooked")
def test_a_name_or_a_module_that_does_not_exist_is_an_import_error() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Toool'"):
        exec("from utcp.data.tool import Toool")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("utcp.dta")


@pytest.mark.usefixtures("_hooked")
def test_the_generations_have_classes_of_their_own() -> None:
    old = importlib.import_module("utcp.shared.tool").Tool
    new = importlib.import_module("utcp.data.tool").Tool
    assert "tool_provider" in old.model_fields
    assert "tool_call_template" in new.model_fields


def test_after_uninstalling_no_module_is_found() -> None:
    before = list(sys.meta_path)
    utcp_bridge.compat.install()
    utcp_bridge.compat.install()
    assert len(sys.meta_path) == len(before) + 1
    importlib.import_module("utcp.utcp_client")
    utcp_bridge.compat.uninstall()
    assert sys.meta_path == before
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("utcp.utcp_client")


def test_the_reference_library_that_was_imported_before_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "utcp", ModuleType("utcp"))
    with pytest.raises(ImportError, match="utcp was imported before"):
        utcp_bridge.compat.install()
