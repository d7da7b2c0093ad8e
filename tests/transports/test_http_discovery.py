"""HTTP discovery: which responses are documents, and what the errors of others say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from tests.upstreams.http_service import API_KEY, HttpService

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.auth.models import parse_auth
from utcp_bridge.errors import ConfigError, ManualError, Rejected, ReplyTooLarge
from utcp_bridge.model import Document
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.testing.services import make_target, open_services
from utcp_bridge.transports.http import HttpTransport

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service() -> AsyncIterator[HttpService]:
    async with HttpService() as service:
        yield service


async def _discover(url: str, *, credentials: Credentials | None = None, limit: int = 10**6, **fields: Any) -> Document:
    with anyio.fail_after(60):
        async with open_services(settings=BridgeSettings(max_manual_bytes=limit)) as services:
            transport = HttpTransport(services)
            target = make_target(transport, {"url": url, **fields}, credentials=credentials)
            return await transport.discover(target)


async def test_a_document_has_its_bytes_its_type_and_its_final_url(service: HttpService) -> None:
    document = await _discover(f"{service.base}/redirect?to=/openapi.json")
    assert json.loads(document.content)["openapi"] == "3.0.3"
    assert document.url == f"{service.base}/openapi.json"
    assert document.media_type == "application/json"


async def test_yaml_is_a_document_too(service: HttpService) -> None:
    document = await _discover(f"{service.base}/utcp.yaml")
    assert document.content.startswith(b"utcp_version:")
    assert document.media_type == "application/yaml"


async def test_the_request_has_the_method_the_headers_and_the_credentials(service: HttpService) -> None:
    auth = parse_auth({"auth_type": "api_key", "api_key": API_KEY, "var_name": "X-Api-Key"})
    await _discover(
        f"{service.base}/secure/utcp",
        credentials=Credentials(auth, frozenset({service.base})),
        http_method="POST",
        headers={"X-Team": "blue"},
    )
    assert service.last.method == "POST"
    assert service.last.headers["X-Team"] == "blue"
    assert service.last.body == b""
    assert service.last.headers["Accept"].startswith("application/json, application/yaml")


async def test_the_error_of_a_web_page_contains_the_link_to_the_description(service: HttpService) -> None:
    with pytest.raises(ManualError, match="web page") as caught:
        await _discover(f"{service.base}/docs?token=secret")
    assert "/openapi.json" in str(caught.value.remedy)
    assert "secret" not in str(caught.value)


async def test_the_error_of_a_web_page_without_a_link_says_what_to_use(service: HttpService) -> None:
    with pytest.raises(ManualError, match="web page") as caught:
        await _discover(f"{service.base}/page")
    assert "Use the address of the document itself" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("path", "says"), [("/nothing", "empty body"), ("/empty", "empty body"), ("/image", "image/png")]
)
async def test_the_error_says_what_came_instead_of_a_document(service: HttpService, path: str, says: str) -> None:
    with pytest.raises(ManualError, match=says):
        await _discover(service.base + path)


@pytest.mark.parametrize(("status", "remedy"), [(401, "auth"), (403, "auth"), (404, "Check the path"), (500, "")])
async def test_an_error_status_names_its_likely_cause(service: HttpService, status: int, remedy: str) -> None:
    with pytest.raises(Rejected, match=str(status)) as caught:
        await _discover(f"{service.base}/status/{status}")
    assert remedy in (caught.value.remedy or "")


async def test_a_document_above_the_limit_is_refused(service: HttpService) -> None:
    with pytest.raises(ReplyTooLarge):
        await _discover(f"{service.base}/bytes/5000000", limit=1000)


async def test_a_url_with_a_placeholder_is_a_config_error(service: HttpService) -> None:
    with pytest.raises(ConfigError, match="placeholder"):
        await _discover(service.base + "/{version}/utcp")
    assert service.requests == []
