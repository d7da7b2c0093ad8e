import json
from hashlib import sha256

from tests.openapi_oracle.samples import OWN

from utcp_bridge.registry.folder import Folder, served_bytes

TOOL = {"call_template_type": "http", "url": "https://api.example.com/x"}


def manual(*names, tags=(), **info):
    tools = [
        {"name": name, "description": f"Does {name}.", "tags": list(tags), "tool_call_template": TOOL} for name in names
    ]
    return {"utcp_version": "1.0.1", "manual_version": "2.0", "info": info, "tools": tools}


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")


def test_manuals_and_descriptions_are_listed_with_what_they_say_of_themselves(tmp_path):
    write(tmp_path / "weather.json", manual("a", "b", tags=["x", "y"], title="Weather", description="Forecasts."))
    (tmp_path / "pets.yaml").write_bytes((OWN / "swagger-api-openapi.yaml").read_bytes())
    write(
        tmp_path / "old" / "v0.json",
        {"version": "1", "tools": [{"name": "t", "tool_provider": {"provider_type": "http"}}]},
    )
    shelf = Folder(tmp_path).current()
    old, pets, weather = shelf.index.find()
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
    assert shelf.files["old_v0.json"] == tmp_path / "old" / "v0.json"
    assert shelf.index.find(q="inventory of the store")[0].name == "pets"


def test_what_may_hold_secrets_or_is_no_manual_is_not_listed(tmp_path, caplog):
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


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path):
    write(tmp_path / "outside" / "secret.json", manual("a"))
    inside = tmp_path / "inside"
    write(inside / "own.json", manual("b"))
    (inside / "link.json").symlink_to(tmp_path / "outside" / "secret.json")
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "same.json").symlink_to(inside / "own.json")
    assert sorted(Folder(inside).current().files) == ["own.json", "same.json"]


def test_files_that_change_come_or_go_are_seen(tmp_path):
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


def test_two_files_of_one_name_are_kept_apart(tmp_path):
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


def test_a_file_that_is_too_large_is_told_and_not_read(tmp_path, caplog):
    with (tmp_path / "big.json").open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    assert Folder(tmp_path).current().files == {}
    assert "larger than" in caplog.text
