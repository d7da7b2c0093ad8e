"""The registry's API over real HTTP."""

import json
import urllib.error
import urllib.request
from hashlib import sha256

import pytest
from tests.upstreams.registry_service import served

from utcp_bridge.net.listening import LOOPBACK_NAMES
from utcp_bridge.registry.app import build_registry_app
from utcp_bridge.registry.folder import Folder

TEMPLATE = {"call_template_type": "http", "url": "https://api.example.com/x"}


def write(folder, name, description="", tags=()):
    tool = {"name": "do", "description": description, "tags": list(tags), "tool_call_template": TEMPLATE}
    manual = {"utcp_version": "1.0.1", "info": {"description": description}, "tools": [tool]}
    (folder / f"{name}.json").write_text(json.dumps(manual))


@pytest.fixture
def base(tmp_path):
    for number in range(5):
        write(tmp_path, f"m{number}", f"Manual number {number}.", ["even" if number % 2 == 0 else "odd"])
    write(tmp_path, "weather", "Forecasts for a city.", ["geo"])
    with served(build_registry_app(Folder(tmp_path), hosts=LOOPBACK_NAMES)) as url:
        yield url


def get(url, **headers):
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def listed(url):
    status, _, body = get(url)
    assert status == 200
    return json.loads(body)


def names(url):
    return [manual["name"] for manual in listed(url)["manuals"]]


def test_all_manuals_are_listed_each_at_an_address_where_it_is(base, tmp_path):
    manuals = listed(f"{base}/manuals")["manuals"]
    assert [manual["name"] for manual in manuals] == ["m0", "m1", "m2", "m3", "m4", "weather"]
    assert manuals[0]["url"] == f"{base}/manuals/m0.json"
    status, headers, body = get(manuals[0]["url"])
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert body == (tmp_path / "m0.json").read_bytes()
    assert sha256(body).hexdigest() == manuals[0]["sha256"]
    assert get(manuals[0]["url"], **{"If-None-Match": headers["ETag"]})[0] == 304


def test_tags_and_words_choose(base):
    assert names(f"{base}/manuals?tag=odd") == ["m1", "m3"]
    assert names(f"{base}/manuals?tag=odd&tag=GEO") == ["m1", "m3", "weather"]
    assert names(f"{base}/manuals?q=city+forecast")[0] == "weather"
    assert names(f"{base}/manuals?q=city+forecast&tag=odd") == []


@pytest.mark.parametrize("query", ["", "q=manual+number"])
def test_pages_lead_to_every_manual_once(base, query):
    found, cursor = [], ""
    while cursor is not None:
        page = listed(f"{base}/manuals?limit=2&{query}&cursor={cursor}")
        assert len(page["manuals"]) <= 2
        found += [manual["name"] for manual in page["manuals"]]
        cursor = page["next"]
    assert sorted(found) == sorted(names(f"{base}/manuals?{query}"))


def test_a_page_goes_on_where_it_was_though_its_last_manual_is_gone(base, tmp_path):
    page = listed(f"{base}/manuals?limit=2")
    ranked = listed(f"{base}/manuals?limit=1&q=manual+number")
    (tmp_path / "m1.json").unlink()
    (tmp_path / f"{ranked['manuals'][0]['name']}.json").unlink(missing_ok=True)
    assert "m2" in names(f"{base}/manuals?cursor={page['next']}")
    status, _, body = get(f"{base}/manuals?q=manual+number&cursor={ranked['next']}")
    assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_query")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "limit=-1", "limit=%C2%B2", "cursor=%FF", "cursor=a"]
)
def test_a_query_that_makes_no_sense_is_400_with_words(base, query):
    status, _, body = get(f"{base}/manuals?{query}")
    assert status == 400
    assert json.loads(body)["error"]["message"].endswith(".")


def test_the_well_known_address_and_the_root_list_everything(base):
    assert names(f"{base}/.well-known/utcp.json") == names(f"{base}/") == names(f"{base}/manuals")
    assert json.loads(get(f"{base}/healthz")[2]) == {"status": "ok"}


@pytest.mark.parametrize("path", ["/manuals/none.json", "/manuals/..%2fx.json", "/nothing", "/manuals/a/b.json"])
def test_what_is_not_there_is_404_as_json(base, path):
    status, _, body = get(f"{base}{path}")
    assert status == 404
    assert json.loads(body)["error"]["code"] in {"not_found", "unknown_manual"}


def test_only_reading_is_answered(base):
    request = urllib.request.Request(f"{base}/manuals", method="POST", data=b"{}")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    with caught.value as error:
        assert (error.code, json.loads(error.read())["error"]["code"]) == (405, "method_not_allowed")


def test_a_file_that_was_added_is_listed_at_once(base, tmp_path):
    write(tmp_path, "later", "Came later.")
    assert "later" in names(f"{base}/manuals")


def test_another_host_name_is_refused_on_loopback(base):
    assert get(f"{base}/manuals", Host="evil.example.com")[0] == 421
    assert get(f"{base}/manuals", Host="localhost:1")[0] == 200


def test_an_address_of_ones_own_is_in_the_listings(tmp_path):
    write(tmp_path, "a")
    app = build_registry_app(Folder(tmp_path), public_url="https://registry.example.com/utcp/")
    with served(app) as url:
        status, _, body = get(f"{url}/manuals", Host="anything.example.com")
    assert status == 200
    assert json.loads(body)["manuals"][0]["url"] == "https://registry.example.com/utcp/manuals/a.json"
