"""Manuals for other clients: those clients load them, and send the requests that this bridge sends.

Both kinds of clients call a server that keeps the requests. This bridge calls the tool as it was, with the arguments
that the written ones stand for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.interop.official.recording import RecordingServer, deliberate, shown
from tests.interop.software import Npm, PyPI, Software
from tests.openapi_oracle.samples import SHARED, load, sample_files
from tests.support.openapi_bodies import BODIES
from tests.upstreams.registry_service import served

from utcp_bridge import UtcpClient
from utcp_bridge.convert.outcome import Converted, Wishes
from utcp_bridge.convert.proof import difference, sample_arguments
from utcp_bridge.convert.sources import without_files
from utcp_bridge.convert.targets import portable, to_v0
from utcp_bridge.convert.writing import written_http
from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.manuals.variables_needed import names_in_template

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

PYTHON = PyPI("utcp==1.2.0 utcp-http==1.1.15", program="python")
PYTHON_0 = PyPI("utcp==0.2.3 mcp<2", program="python", light=False)
TYPESCRIPT = Npm("@utcp/sdk@1.1.2 @utcp/http@1.1.11")
SERVERS = Path(__file__).parents[1] / "servers"
MOST_TOOLS = 30
DOCUMENTS = [path for path in sample_files(SHARED) if not path.name.startswith(("karmada", "moby"))]


@pytest.fixture
def recorder() -> Iterator[tuple[RecordingServer, str]]:
    recording = RecordingServer()
    with served(recording) as base:
        yield recording, base


def document_of(path: Path | None, base: str) -> Converted:
    """Return the tools of a description whose server is the recorder."""
    document, url, files = (BODIES, "https://x.example/openapi.json", {}) if path is None else load(path)
    converted = without_files(document, url=url, name="m", wishes=Wishes(base_url=f"{base}/api"), files=files)
    for tool in converted.tools:
        template = tool["tool_call_template"]
        if path is None and template.get("auth"):
            key = {"auth_type": "api_key", "api_key": "${KEY}", "var_name": "X-Key", "location": "header"}
            template["auth"] = key
        elif template.get("auth"):
            template["auth"] = with_own_tokens(template["auth"], f"{base}/token")
    return converted


def with_own_tokens(auth: Any, url: str) -> Any:
    """Return credentials of a sample document whose tokens, if any, come from the recorder."""
    if isinstance(auth, list):
        return [with_own_tokens(one, url) for one in auth]
    if not isinstance(auth, dict):
        return auth
    changed = {key: with_own_tokens(value, url) for key, value in auth.items() if key != "issuer"}
    return {**changed, **({"token_url": url} if "token_url" in auth else {})}


def variables_of(written: Converted) -> dict[str, str]:
    """Return dummy credentials: a value for each variable of the tools that were written."""
    templates = [tool.get("tool_call_template") or tool["tool_provider"] for tool in written.tools]
    names = {name for template in templates for name in names_in_template(template.get("auth") or {})}
    return {name: f"dummy-{name.lower()}" for name in sorted(names)}


def calls_of(converted: Converted, written: Converted, *, repeats: bool, odd: bool) -> list[tuple[Any, Any, Any]]:
    """Return the arguments of some calls, those of the original tool, and the template that was written."""
    names = [tool["name"] for tool in written.tools]
    originals = {tool["name"]: tool for tool in converted.tools}
    step = max(1, len(names) // MOST_TOOLS)
    calls = []
    for name in names[::step][:MOST_TOOLS]:
        made = written_http(originals[name], repeats=repeats)
        template = made.tool["tool_call_template"]
        samples = list(sample_arguments(made.tool["inputs"], headers=template.get("header_fields", ())))
        calls += [
            ([f"m.{name}", arguments], (f"m.{name}", made.back(arguments)), template)
            for arguments in (samples[:3] if odd else samples[:1])
        ]
    return calls


async def ours(
    base: str, converted: Converted, calls: list[tuple[Any, Any, Any]], variables: dict[str, str]
) -> list[Any]:
    """Return the results of the same calls by this bridge, None for those that it refuses to send."""
    entry = {
        "name": "m",
        "call_template_type": "text",
        "content": converted.document,
        "validation": "off",
        "allowed_origins": [base],
    }
    config = {"manual_call_templates": [entry], "variables": variables}
    results: list[Any] = []
    async with await UtcpClient.create(config) as client:
        for _, (name, arguments), _ in calls:
            try:
                results.append(await client.call_tool(name, arguments))
            except InvalidArguments:
                results.append(None)
    return results


async def theirs(
    software: Software, script: str, url: str, calls: list[Any], variables: dict[str, str], folder: Path
) -> dict[str, Any]:
    place = folder / "calls.json"
    place.write_text(json.dumps({"calls": calls, "variables": variables}), encoding="utf-8")
    done = await anyio.run_process(
        [software.command, str(SERVERS / script), url, str(place)], env=software.environment, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2_000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


CLIENTS = [
    pytest.param(PYTHON, "utcp_calls.py", "v1", id="python", marks=pytest.mark.needs(PYTHON)),
    pytest.param(TYPESCRIPT, "utcp_calls.cjs", "v1", id="typescript", marks=pytest.mark.needs(TYPESCRIPT)),
    pytest.param(PYTHON_0, "utcp_calls.py", "v0", id="python-0", marks=pytest.mark.needs(PYTHON_0)),
]
PLACES = [
    pytest.param(None, id="own"),
    *(pytest.param(path, id=path.name, marks=pytest.mark.long) for path in DOCUMENTS),
]


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize(("software", "script", "form"), CLIENTS)
async def test_each_written_tool_is_loaded_and_its_requests_are_ours(software, script, form, path, recorder, tmp_path):
    recording, base = recorder
    converted = document_of(path, base)
    try:
        written = portable(converted) if form == "v1" else to_v0(converted)
    except ConfigError as error:
        pytest.skip(f"no tool of this document can be written in {form}: {error.message}")
    recording.documents["/manual.json"] = written.document
    recording.documents["/token"] = {"access_token": "dummy-token", "token_type": "Bearer", "expires_in": 3600}
    calls = calls_of(converted, written, repeats=form == "v0", odd=form == "v1")
    variables = variables_of(written)
    mine = await ours(base, converted, calls, variables)
    given = {**variables, **{f"m_{name}": value for name, value in variables.items()}}
    told = await theirs(software, script, f"{base}/manual.json", [call for call, _, _ in calls], given, tmp_path)
    assert sorted(told["tools"]) == sorted(f"m.{tool['name']}" for tool in written.tools)
    compared = 0
    for (call, _, template), own, other in zip(calls, mine, told["results"], strict=True):
        if own is None:
            continue
        if software is TYPESCRIPT and template.get("auth", {}).get("location") == "cookie":
            template = {key: value for key, value in template.items() if key != "auth"}  # noqa: PLW2901 - it sends no cookie
        expected, sent = (deliberate(recording.of(one), template) for one in (own, other))
        assert difference(expected, sent) is None, (call, expected.url, expected.body, sent.url, sent.body)
        assert not template.get("auth") or "dummy-" in shown(sent), (call, sent.url, sent.headers)
        compared += 1
    assert compared or not calls
