"""Manuals that this package serves, as the clients of other vendors load and call them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import anyio
import httpx2
import pytest
from fastapi import FastAPI, Form, Header, UploadFile
from pydantic import BaseModel
from tests.interop.serving import free_port, serving
from tests.interop.software import Npm, PyPI
from tests.upstreams.registry_service import served

from utcp_bridge import ToolServer, add_manual

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

PYTHON = PyPI("utcp==1.2.0 utcp-http==1.1.15", program="python")
TYPESCRIPT = Npm("@utcp/sdk@1.1.2 @utcp/http@1.1.11")
SERVERS = Path(__file__).parents[1] / "servers"
CLIENTS = [
    pytest.param(PYTHON, "utcp_calls.py", id="python", marks=pytest.mark.needs(PYTHON)),
    pytest.param(TYPESCRIPT, "utcp_calls.cjs", id="typescript", marks=pytest.mark.needs(TYPESCRIPT)),
]


class Order(BaseModel):
    item: str
    amount: int = 1
    gift: bool = False
    notes: dict[str, str] = {}


def shop() -> FastAPI:
    app = FastAPI(title="Shop")

    @app.post("/orders/{shop}", operation_id="order")
    def order(shop: str, order: Order, urgent: bool = False, trace: Annotated[str, Header()] = "") -> dict[str, Any]:
        return {"shop": shop, **order.model_dump(), "urgent": urgent, "trace": trace}

    @app.get("/find", operation_id="find")
    def find(text: str, page: int = 1, ratio: float = 0.5) -> dict[str, Any]:
        return {"text": text, "page": page, "ratio": ratio}

    @app.post("/form", operation_id="form")
    def form(name: Annotated[str, Form()], age: Annotated[int, Form()] = 1) -> dict[str, Any]:
        return {"name": name, "age": age}

    @app.post("/upload", operation_id="upload")
    def upload(file: UploadFile) -> str:
        return file.filename or ""

    add_manual(app)
    return app


ORDER = {"item": "tea & milk", "amount": 2, "gift": True, "notes": {"to": "Ada"}}
CALLS = [
    ("order", {"shop": "a/b é", "urgent": "true", "trace": "t-1", "body": ORDER}),
    ("find", {"text": "a=b&c", "page": 3, "ratio": 0.25}),
    ("form", {"body": {"name": "x y", "age": 7}}),
]
REPLIES = [
    {"shop": "x", **ORDER, "urgent": True, "trace": "t-1"},
    {"text": "a=b&c", "page": 3, "ratio": 0.25},
    {"name": "x y", "age": 7},
]


async def called(software, script: str, url: str, calls: list[tuple[str, Any]], folder: Path) -> dict[str, Any]:
    place = folder / "calls.json"
    named = [[f"m.{name}", arguments] for name, arguments in calls]
    place.write_text(json.dumps({"calls": named, "variables": {}}), encoding="utf-8")
    done = await anyio.run_process([software.command, str(SERVERS / script), url, str(place)], env=software.environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("software", "script"), CLIENTS)
async def test_routes_of_fastapi_are_called_with_body_form_header_and_query(software, script, tmp_path) -> None:
    calls = [("order", {**CALLS[0][1], "shop": "x"}), *CALLS[1:]]
    with served(shop()) as base:
        found = await called(software, script, f"{base}/utcp", calls, tmp_path)
        proof = {row["tool"]: row for row in httpx2.get(f"{base}/utcp/proof").json()["tools"]}
    assert sorted(found["tools"]) == ["m.find", "m.form", "m.order"]
    assert found["results"] == REPLIES
    assert proof["upload"]["state"] == "left out"
    assert "multipart" in proof["upload"]["why"][0]


@pytest.mark.parametrize(("software", "script"), CLIENTS)
async def test_functions_are_called_with_every_type_of_argument(software, script, tmp_path) -> None:
    tools = ToolServer()

    @tools.tool
    async def order(item: str, amount: int = 1, gift: bool = False, notes: dict[str, str] | None = None) -> dict:
        return {"item": item, "amount": amount, "gift": gift, "notes": notes}

    @tools.tool
    async def plain(text: str, number: int = 0, ratio: float = 0) -> list:
        return [text, number, ratio]

    @tools.tool
    async def nothing() -> str:
        return "done"

    calls = [("order", {"body": ORDER}), ("plain", {"text": "7", "number": -3, "ratio": 1.5}), ("nothing", {})]
    with served(tools.app()) as base:
        found = await called(software, script, f"{base}/utcp", calls, tmp_path)
    assert sorted(found["tools"]) == ["m.nothing", "m.order", "m.plain"]
    assert found["results"] == [ORDER, ["7", -3, 1.5], "done"]


@pytest.mark.long
@pytest.mark.parametrize(("software", "script"), CLIENTS)
@pytest.mark.parametrize("via", ["bridge", "native"])
async def test_the_bridge_serves_tools_for_every_client(software, script, via, tmp_path) -> None:
    with served(shop()) as base:
        entry = {"name": "shop", "call_template_type": "http", "url": f"{base}/openapi.json"}
        config, port = tmp_path / "utcp.json", free_port()
        config.write_text(json.dumps({"manual_call_templates": [entry]}), encoding="utf-8")
        command = [sys.executable, "-m", "utcp_bridge", "serve", config, "--http", "--port", str(port)]
        with serving(command, port=port):
            url = f"http://127.0.0.1:{port}/utcp?via={via}"
            manual = {tool["name"]: tool for tool in httpx2.get(url).json()["tools"]}
            proof = {
                row["tool"]: row for row in httpx2.get(f"http://127.0.0.1:{port}/utcp/proof?via={via}").json()["tools"]
            }
            native = [name for name, tool in manual.items() if tool["tool_call_template"]["url"].startswith(base)]
            asked = [("order", {**CALLS[0][1], "shop": "x"}), *CALLS[1:]]
            calls = [
                (f"shop_{name}", as_written(manual[f"shop_{name}"], arguments, native)) for name, arguments in asked
            ]
            found = await called(software, script, url, calls, tmp_path)
    assert sorted(native) == (["shop_find", "shop_form", "shop_order"] if via == "native" else [])
    assert {name for name, row in proof.items() if row["state"] == "native"} == set(native)
    assert all(row["why"] for row in proof.values() if via == "native" and row["state"] == "bridge")
    assert len(found["tools"]) == 4
    assert found["results"] == REPLIES


def as_written(tool: dict[str, Any], arguments: dict[str, Any], native: list[str]) -> dict[str, Any]:
    """Return the arguments of a tool; through the bridge, the members of the body are beside the others."""
    if tool["name"] in native:
        return arguments
    flat = {name: value for name, value in arguments.items() if name != "body"} | arguments.get("body", {})
    if "urgent" in flat:
        flat["urgent"] = True
    return {"body": flat} if tool["tool_call_template"]["body_field"] == "body" else flat
