"""Asking registries of every form, over real HTTP."""

import json

import pytest
from tests.upstreams.registry_service import Answers, served

from utcp_bridge import AsyncUTCPRegistry, UTCPRegistry
from utcp_bridge.errors import ConfigError, ManualError, Rejected
from utcp_bridge.registry.client import fetch_document, list_manuals
from utcp_bridge.registry.serving import Folder, build_registry_app

TEMPLATE = {"call_template_type": "http", "url": "https://api.example.com/x"}
STATIC = {
    "manuals": [
        {"name": "weather", "url": "https://a.example/w", "description": "Forecasts.", "tags": ["geo"]},
        {"name": "maps", "url": "https://a.example/m", "tags": ["geo", "route"]},
        {"name": "mail", "url": "https://a.example/l"},
    ]
}


def fill(folder, count):
    for number in range(count):
        tool = {"name": "t", "tags": ["even" if number % 2 == 0 else "odd"], "tool_call_template": TEMPLATE}
        (folder / f"m{number:03}.json").write_text(json.dumps({"utcp_version": "1.0.1", "tools": [tool]}))


def test_discover_reads_every_page_of_a_registry(tmp_path):
    fill(tmp_path, 230)
    with served(build_registry_app(Folder(tmp_path))) as base:
        registry = UTCPRegistry(base)
        assert len(registry.discover()) == 230
        assert registry.discover(tags=["odd"])[:2] == [f"{base}/manuals/m001.json", f"{base}/manuals/m003.json"]
        assert len(registry.discover(limit=120)) == 120
        assert UTCPRegistry(f"{base}/manuals").discover(limit=1) == [f"{base}/manuals/m000.json"]
        [one] = registry.listings(tags=["even"], limit=1)
        assert (one.name, one.tags, len(one.sha256)) == ("m000", ("even",), 64)


@pytest.mark.anyio
async def test_the_asynchronous_registry_returns_the_same(tmp_path):
    fill(tmp_path, 2)
    with served(build_registry_app(Folder(tmp_path))) as base:
        registry = AsyncUTCPRegistry(base)
        assert await registry.discover(["odd"]) == [f"{base}/manuals/m001.json"]
        assert [one.name for one in await registry.listings(q="m001")] == ["m001"]


def test_registry_files_are_searched_by_the_client(tmp_path):
    (tmp_path / "registry.json").write_text(json.dumps(STATIC))
    with served(Answers({"/list.json": STATIC}).app) as base:
        for place in (f"{base}/list.json", str(tmp_path / "registry.json")):
            registry = UTCPRegistry(place)
            assert len(registry.discover()) == 3
            assert registry.discover(tags=["route"]) == ["https://a.example/m"]
            assert registry.discover(q="forecasts") == ["https://a.example/w"]
            assert len(registry.discover(limit=2)) == 2


def test_the_well_known_address_is_used_if_there_is_no_api():
    service = Answers({"/.well-known/utcp.json": STATIC})
    with served(service.app) as base:
        assert len(UTCPRegistry(f"{base}/api").discover(tags=["geo"])) == 2
        service.answers["/.well-known/utcp.json"] = {"utcp_version": "1.0.1", "tools": []}
        assert UTCPRegistry(base).discover() == [f"{base}/.well-known/utcp.json"]
    assert service.seen[:2] == ["/api/manuals?tag=geo&limit=100", "/.well-known/utcp.json"]


def test_repeated_cursors_end_the_reading():
    service = Answers({"/manuals": lambda _request: {**STATIC, "next": "again"}})
    with served(service.app) as base:
        assert len(UTCPRegistry(base).discover()) == 3
    assert len(service.seen) == 2


def endless(request):
    start = int(request.query_params.get("cursor", 0))
    names = [{"name": f"m{number}", "url": f"https://a.example/{number}"} for number in range(start, start + 50)]
    return {"manuals": names, "next": str(start + 50)}


@pytest.mark.parametrize(
    ("answer", "found", "asked"),
    [(endless, 1_000, 20), (lambda request: {**endless(request), "manuals": []}, 0, 100)],
    ids=["manuals without end", "empty pages without end"],
)
def test_a_registry_without_end_is_read_up_to_a_bound(answer, found, asked):
    service = Answers({"/manuals": answer})
    with served(service.app) as base:
        assert len(UTCPRegistry(base).discover()) == found
        assert len(UTCPRegistry(base).discover(limit=70)) == min(found, 70)
    assert len(service.seen[: -2 if found else -100]) == asked


def test_a_document_of_too_many_values_is_refused_before_it_is_parsed(tmp_path):
    data = b'{"manuals": [' + b"[]," * 150_000 + b"[]]}"
    (tmp_path / "list.json").write_bytes(data)
    with served(Answers({"/manuals": data, "/list.json": data}).app) as base:
        for place in (base, f"{base}/list.json"):
            with pytest.raises(ManualError, match="more than 200,000 values"):
                UTCPRegistry(place).discover()


@pytest.mark.parametrize(
    ("answer", "error"), [(500, Rejected), (403, Rejected), ({"x": 1}, ManualError), ([], ManualError)]
)
def test_another_document_than_a_registry_is_an_error(answer, error):
    with served(Answers({"/manuals": answer}).app) as base, pytest.raises(error):
        UTCPRegistry(base).discover()


def test_a_missing_registry_file_is_an_error():
    with pytest.raises(ConfigError, match="no such file"):
        UTCPRegistry("./gone.json").discover()


@pytest.mark.anyio
async def test_faults_in_single_listings_are_reported():
    with served(Answers({"/manuals": {"manuals": [*STATIC["manuals"], {"url": "ftp://x.example/"}]}}).app) as base:
        page = await list_manuals(base, fetch_document)
    assert len(page.listings) == 3
    assert "ftp" in str(page.faults[0])
