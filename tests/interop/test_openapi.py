"""OpenAPI: Prism, a mock server that knows nothing but the document, judges the requests of every converted tool."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from tests.interop.drawing import draw
from tests.interop.serving import free_port, serving
from tests.interop.software import Npm
from tests.openapi_oracle.samples import OWN, SHARED

from utcp_bridge.errors import InvalidArguments, MalformedReply, Rejected

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

PRISM = Npm("@stoplight/prism-cli@5.14.2", program="prism")
MOST = 25
"""Operations judged of one document."""
OURS = {"UNPROCESSABLE_ENTITY", "NO_PATH_MATCHED_ERROR", "NO_METHOD_MATCHED_ERROR", "INVALID_CONTENT_TYPE"}
"""What Prism says of a request that the document does not allow; its other words are about its own answers."""

LIMITS = {"put_anything_multipart-formdata": "Prism reads parts of one name as one text, not as an array"}
"""Tools that Prism cannot judge, and why."""

# A document of every style of parameter is left to the oracle in tests/openapi_oracle: Prism ends at the first array in
# the `label` style.
HERE = [
    "docusign-monitor.rest.swagger-v2.0.json",
    "oai-v2.0-json-uber.json",
    "oai-v3.0-pass-link-example.yaml",
    "oai-v3.0-pass-petstore-expanded.yaml",
    "oai-v3.1-tictactoe.json",
    "readmeio-3.0-yaml-file-uploads.yaml",
    "swagger-api-openapi.yaml",
]
BESIDE = [
    "adyen-json-RecurringService-v68.json",
    "adyen-json-StoredValueService-v46.json",
    "docusign-click.rest.swagger-v2.json",
    "oai-v3.0-pass-uspto.yaml",
    "readmeio-3.0-yaml-form-data.yaml",
    "readmeio-3.0-yaml-readme.yaml",
    "readmeio-3.0-yaml-schema-types.yaml",
    "readmeio-3.0-yaml-star-trek.yaml",
    "twilio-twilio-lookups-v2.json",
    "twilio-twilio-verify-v2.json",
    "xeroapi-xero-projects.yaml",
]


@pytest.mark.needs(PRISM)
@pytest.mark.parametrize("name", [*HERE, *BESIDE])
async def test_a_mock_server_of_a_published_document_allows_every_request(opened, tmp_path: Path, name: str) -> None:
    path = next((folder / name for folder in (OWN, SHARED) if (folder / name).exists()), None)
    if path is None:
        pytest.skip("the folder of sample documents is not beside the repository")
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(_open(path)), encoding="utf-8")
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command = [PRISM.command, "mock", "--errors", "-h", "127.0.0.1", "-p", str(port), document]
    entry = {"name": "api", "call_template_type": "file", "file_path": str(document), "base_url": base}
    judged, wrong = 0, []
    with serving(command, ready=lambda: _answers(base), environment=PRISM.environment, seconds=60):
        async with opened({**entry, "allow_networks": ["127.0.0.0/8"], "retries": 0}) as client:
            for tool in [tool for tool in client.tools() if tool.name not in LIMITS][:MOST]:
                for full in (False, True):
                    arguments = draw(tool.inputs, tool.inputs, full=full)
                    try:
                        await client.call_tool(tool.qualified_name, arguments)
                    except InvalidArguments:
                        continue  # the few rules of drawing did not find a value that fits
                    except MalformedReply:
                        pass  # Prism's own example is no JSON
                    except Rejected as error:
                        if fault := _fault(error):
                            wrong.append((tool.name, full, arguments, fault))
                    judged += 1
    assert wrong == []
    assert judged > 0


def _open(path: Path) -> Any:
    """The document without its security: credentials are judged elsewhere, and no token is to be asked for."""
    return _without_security(yaml.safe_load(path.read_text(encoding="utf-8")))


def _without_security(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _without_security(value) for key, value in node.items() if key != "security"}
    return [_without_security(one) for one in node] if isinstance(node, list) else _plain(node)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _answers(base: str) -> bool:
    try:
        httpx2.get(base, timeout=60, trust_env=False)
    except httpx2.TransportError:
        return False
    return True


def _fault(error: Rejected) -> Any:
    """What Prism holds against the request; None where it complains of itself."""
    said = error.detail if isinstance(error.detail, dict) else {}
    kind = str(said.get("type", "")).rpartition("#")[2]
    if kind not in OURS:
        return None
    return kind, [(one.get("location"), one.get("message")) for one in said.get("validation", ())]
