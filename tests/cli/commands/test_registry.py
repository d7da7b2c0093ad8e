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
    assert (none.code, none.out, "No manual matches." in none.err) == (0, "", True)


def test_an_unreadable_registry_is_one_line_and_an_exit_code(command):
    assert command("registry", "list", "gone.json").code == 2
    with served(Answers({}).app) as base:
        outcome = command("registry", "list", base, "--json")
    assert outcome.code == 5
    assert json.loads(outcome.out)["error"]["code"] == "rejected"


def test_serving_beyond_loopback_needs_insecure(command, tmp_path):
    outcome = command("registry", "serve", str(tmp_path), "--host", "0.0.0.0", "--port", "0")
    assert outcome.code == 2
    assert "--insecure" in outcome.err
    assert command("registry", "serve", str(tmp_path / "gone")).code == 2


def test_a_call_asks_only_the_registry_of_the_tool(command, tmp_path):
    service = Answers({"/manuals": {"manuals": [{"name": "m", "url": "/m"}]}, "/call": {"answer": 42}})
    other = Answers({"/manuals": {"manuals": []}})
    with served(service.app) as base, served(other.app) as elsewhere:
        template = {"call_template_type": "http", "url": f"{base}/call"}
        service.answers["/m"] = {"tools": [{"name": "t", "tool_call_template": template}]}
        registries = [{"registry": base, "name": "acme"}, {"registry": elsewhere, "name": "other"}]
        own = {"name": "own", "call_template_type": "text", "content": {"tools": [{"name": "t"}]}}
        (tmp_path / "utcp.json").write_text(json.dumps({"registries": registries, "manual_call_templates": [own]}))
        called = command("call", "-c", "utcp.json", "acme_m.t")
        assert other.seen == []
        seen = list(service.seen)
        assert command("call", "-c", "utcp.json", "own.t").code == 0
        assert service.seen == seen
        checked = command("check", "-c", "utcp.json", "--json")
    assert json.loads(called.out) == {"answer": 42}
    states = {one["name"]: (one["kind"], one["status"]) for one in json.loads(checked.out)["manuals"]}
    assert states == {
        "own": ("text", "ready"),
        "acme": ("registry", "ready"),
        "other": ("registry", "ready"),
        "acme_m": ("http", "ready"),
    }
