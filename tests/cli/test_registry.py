import json

from tests.upstreams.registry_service import Answers, served

MANUALS = {
    "manuals": [
        {"name": "weather", "url": "https://a.example/w", "description": "Forecasts.", "tags": ["geo"]},
        {"name": "mail", "url": "https://a.example/l"},
        {"name": "odd", "url": "ftp://a.example/l"},
    ]
}


def test_the_manuals_of_a_registry_are_listed(command):
    with served(Answers({"/list.json": MANUALS}).app) as base:
        outcome = command("registry", "list", f"{base}/list.json")
        found = command("registry", "list", f"{base}/list.json", "--tag", "geo", "forecasts", "--json")
        limited = command("registry", "list", f"{base}/list.json", "-n", "1", "--json")
        none = command("registry", "list", f"{base}/list.json", "--tag", "none")
    assert outcome.code == 0
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["NAME", "weather", "mail"]
    assert "ftp" in outcome.err
    assert [one["name"] for one in json.loads(found.out)["manuals"]] == ["weather"]
    assert len(json.loads(limited.out)["manuals"]) == 1
    assert (none.code, none.out, "No manual fits." in none.err) == (0, "", True)


def test_a_registry_that_cannot_be_read_is_an_exit_code_and_one_line(command):
    assert command("registry", "list", "gone.json").code == 2
    with served(Answers({}).app) as base:
        outcome = command("registry", "list", base, "--json")
    assert outcome.code == 5
    assert json.loads(outcome.out)["error"]["code"] == "rejected"


def test_serving_beyond_loopback_is_refused_unasked(command, tmp_path):
    outcome = command("registry", "serve", str(tmp_path), "--host", "0.0.0.0", "--port", "0")
    assert outcome.code == 2
    assert "--insecure" in outcome.err
    assert command("registry", "serve", str(tmp_path / "gone")).code == 2
