"""`utcp-registry serve` as a program of its own.

The registry's API over real HTTP.
"""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from tests.openapi_oracle.samples import OWN
from tests.upstreams.registry_service import served

from utcp_bridge.errors import ConfigError
from utcp_bridge.net.listening import LOOPBACK_NAMES
from utcp_bridge.registry.serving import Folder, Serving, build_registry_app, serve_registry, served_bytes

TEMPLATE = {"call_template_type": "http", "url": "https://api.example.com/x"}
PROGRAM = str(Path(sys.executable).with_name("utcp-registry"))


@contextmanager
def running(*arguments, cwd):
    process = subprocess.Popen([PROGRAM, "serve", *arguments], cwd=cwd, stderr=subprocess.PIPE, text=True)
    try:
        yield process, process.stderr.readline()
    finally:
        process.kill()
        process.wait(60)
        process.stderr.close()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_serve_prints_its_url_serves_and_stops_on_a_signal(tmp_path, stop):
    manual = {"utcp_version": "1.0.1", "tools": [{"name": "t", "tool_call_template": TEMPLATE}]}
    (tmp_path / "weather.json").write_text(json.dumps(manual))
    with running("--port", "0", cwd=tmp_path) as (process, line):
        assert line.startswith("Serving 1 manual of . on http://127.0.0.1:")
        with urllib.request.urlopen(line.rpartition(" ")[2].strip(), timeout=60) as reply:
            assert [one["name"] for one in json.load(reply)["manuals"]] == ["weather"]
        process.send_signal(stop)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


@pytest.mark.anyio
async def test_an_address_beyond_loopback_needs_insecure(tmp_path):
    with pytest.raises(ConfigError, match="--insecure"):
        await serve_registry(tmp_path, Serving(host="0.0.0.0", port=0), on_ready=lambda _url, _count: None)


@pytest.mark.anyio
async def test_a_missing_folder_and_a_used_port_are_config_errors(tmp_path):
    with pytest.raises(ConfigError, match="no folder"):
        await serve_registry(tmp_path / "gone", Serving(), on_ready=lambda _url, _count: None)
    with running("--port", "0", cwd=tmp_path) as (_process, line):
        port = int(line.rpartition("/manuals")[0].rpartition(":")[2])
        with pytest.raises(ConfigError, match="Cannot listen"):
            await serve_registry(tmp_path, Serving(port=port), on_ready=lambda _url, _count: None)


def write_manual(folder, name, description="", tags=()):
    tool = {"name": "do", "description": description, "tags": list(tags), "tool_call_template": TEMPLATE}
    manual = {"utcp_version": "1.0.1", "info": {"description": description}, "tools": [tool]}
    (folder / f"{name}.json").write_text(json.dumps(manual))


@pytest.fixture
def base(tmp_path):
    for number in range(5):
        write_manual(tmp_path, f"m{number}", f"Manual number {number}.", ["even" if number % 2 == 0 else "odd"])
    write_manual(tmp_path, "weather", "Forecasts for a city.", ["geo"])
    with served(build_registry_app(Folder(tmp_path), hosts=LOOPBACK_NAMES)) as url:
        yield url


def get(url, **headers):
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
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


def test_all_manuals_are_listed_with_a_working_url(base, tmp_path):
    manuals = listed(f"{base}/manuals")["manuals"]
    assert [manual["name"] for manual in manuals] == ["m0", "m1", "m2", "m3", "m4", "weather"]
    assert manuals[0]["url"] == f"{base}/manuals/m0.json"
    status, headers, body = get(manuals[0]["url"])
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert body == (tmp_path / "m0.json").read_bytes()
    assert sha256(body).hexdigest() == manuals[0]["sha256"]
    assert get(manuals[0]["url"], **{"If-None-Match": headers["ETag"]})[0] == 304


def test_tags_and_words_select_manuals(base):
    assert names(f"{base}/manuals?tag=odd") == ["m1", "m3"]
    assert names(f"{base}/manuals?tag=odd&tag=GEO") == ["m1", "m3", "weather"]
    assert names(f"{base}/manuals?q=city+forecast")[0] == "weather"
    assert names(f"{base}/manuals?q=city+forecast&tag=odd") == []


@pytest.mark.parametrize("query", ["", "q=manual+number"])
def test_paging_returns_every_manual_once(base, query):
    found, cursor = [], ""
    while cursor is not None:
        page = listed(f"{base}/manuals?limit=2&{query}&cursor={cursor}")
        assert len(page["manuals"]) <= 2
        found += [manual["name"] for manual in page["manuals"]]
        cursor = page["next"]
    assert sorted(found) == sorted(names(f"{base}/manuals?{query}"))


def test_paging_continues_after_the_last_manual_was_removed(base, tmp_path):
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
def test_an_invalid_query_is_400_with_a_message(base, query):
    status, _, body = get(f"{base}/manuals?{query}")
    assert status == 400
    assert json.loads(body)["error"]["message"].endswith(".")


def test_the_well_known_address_and_the_root_list_everything(base):
    assert names(f"{base}/.well-known/utcp.json") == names(f"{base}/") == names(f"{base}/manuals")
    assert json.loads(get(f"{base}/healthz")[2]) == {"status": "ok"}


@pytest.mark.parametrize("path", ["/manuals/none.json", "/manuals/..%2fx.json", "/nothing", "/manuals/a/b.json"])
def test_an_unknown_path_is_404_as_json(base, path):
    status, _, body = get(f"{base}{path}")
    assert status == 404
    assert json.loads(body)["error"]["code"] in {"not_found", "unknown_manual"}


def test_other_methods_than_get_and_head_are_405(base):
    request = urllib.request.Request(f"{base}/manuals", method="POST", data=b"{}")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    with caught.value as error:
        assert (error.code, json.loads(error.read())["error"]["code"]) == (405, "method_not_allowed")


def test_an_added_file_is_listed_at_once(base, tmp_path):
    write_manual(tmp_path, "later", "Came later.")
    assert "later" in names(f"{base}/manuals")


def test_another_host_name_is_refused_on_loopback(base):
    assert get(f"{base}/manuals", Host="evil.example.com")[0] == 421
    assert get(f"{base}/manuals", Host="localhost:1")[0] == 200


def test_public_url_is_used_in_listings(tmp_path):
    write_manual(tmp_path, "a")
    app = build_registry_app(Folder(tmp_path), public_url="https://registry.example.com/utcp/")
    with served(app) as url:
        status, _, body = get(f"{url}/manuals", Host="anything.example.com")
    assert status == 200
    assert json.loads(body)["manuals"][0]["url"] == "https://registry.example.com/utcp/manuals/a.json"


TOOL = {"call_template_type": "http", "url": "https://api.example.com/x"}


def manual(*names, tags=(), **info):
    tools = [
        {"name": name, "description": f"Does {name}.", "tags": list(tags), "tool_call_template": TOOL} for name in names
    ]
    return {"utcp_version": "1.0.1", "manual_version": "2.0", "info": info, "tools": tools}


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")


def test_manuals_and_openapi_files_are_listed_with_their_info(tmp_path):
    write(tmp_path / "weather.json", manual("a", "b", tags=["x", "y"], title="Weather", description="Forecasts."))
    (tmp_path / "pets.yaml").write_bytes((OWN / "swagger-api-openapi.yaml").read_bytes())
    write(
        tmp_path / "old" / "v0.json",
        {"version": "1", "tools": [{"name": "t", "tool_provider": {"provider_type": "http"}}]},
    )
    contents = Folder(tmp_path).current()
    old, pets, weather = contents.index.find()
    assert weather.as_json() == {
        "name": "weather",
        "url": "manuals/weather.json",
        "description": "Forecasts.",
        "tags": ["x", "y"],
        "manual_version": "2.0",
        "sha256": sha256((tmp_path / "weather.json").read_bytes()).hexdigest(),
    }
    assert (pets.url, pets.tags[0]) == ("manuals/pets.yaml", "pet")
    assert (old.name, old.url) == ("old_v0", "manuals/old_v0.json")
    assert contents.files["old_v0.json"] == tmp_path / "old" / "v0.json"
    assert contents.index.find(q="inventory of the store")[0].name == "pets"


def test_configurations_and_unreadable_files_are_not_listed(tmp_path, caplog):
    write(tmp_path / "providers.json", [{"name": "a", "provider_type": "http", "url": "https://a.example"}])
    write(tmp_path / "config.yaml", "manual_call_templates: []\nvariables: {KEY: s3cret}\n")
    write(tmp_path / "mcp.json", {"mcpServers": {}})
    write(tmp_path / "broken.json", '{"tools": [')
    write(tmp_path / "notes.txt", "tools: []")
    write(tmp_path / ".hidden.json", manual("a"))
    write(tmp_path / ".git" / "a.json", manual("a"))
    assert Folder(tmp_path).current().files == {}
    assert "broken.json is not listed" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_symbolic_link_out_of_the_folder_is_not_followed(tmp_path):
    write(tmp_path / "outside" / "secret.json", manual("a"))
    inside = tmp_path / "inside"
    write(inside / "own.json", manual("b"))
    (inside / "link.json").symlink_to(tmp_path / "outside" / "secret.json")
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "same.json").symlink_to(inside / "own.json")
    assert sorted(Folder(inside).current().files) == ["own.json", "same.json"]


def test_changed_added_and_removed_files_are_noticed(tmp_path):
    folder = Folder(tmp_path)
    assert folder.current().files == {}
    write(tmp_path / "a.json", manual("one"))
    first = folder.current()
    assert folder.current() is first
    write(tmp_path / "a.json", manual("one", description="New and longer."))
    [changed] = folder.current().index.find()
    assert changed.description == "New and longer."
    (tmp_path / "a.json").unlink()
    assert folder.current().index.find() == []


def test_two_files_of_one_name_get_different_names(tmp_path):
    write(tmp_path / "a.json", manual("x"))
    write(tmp_path / "a.yaml", "tools: []")
    assert sorted(Folder(tmp_path).current().files) == ["a.json", "a_2.yaml"]


def test_json_with_comments_is_served_without_them(tmp_path):
    write(tmp_path / "a.jsonc", '// ours\n{"utcp_version": "1.0.1", "tools": [],}')
    write(tmp_path / "b.json", '{"tools":   []}')
    assert json.loads(served_bytes(tmp_path / "a.jsonc")) == {"utcp_version": "1.0.1", "tools": []}
    assert served_bytes(tmp_path / "b.json") == b'{"tools":   []}'
    [a, _b] = Folder(tmp_path).current().index.find()
    assert a.url == "manuals/a.json"
    assert a.sha256 == sha256(served_bytes(tmp_path / "a.jsonc")).hexdigest()


def test_a_file_that_is_too_large_is_logged_and_not_read(tmp_path, caplog):
    with (tmp_path / "big.json").open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    assert Folder(tmp_path).current().files == {}
    assert "larger than" in caplog.text
