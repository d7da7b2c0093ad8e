"""Names and URIs of several upstreams: each one leads back to its own, whatever the names are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.foreign import is_visible_line
from utcp_bridge.model import JsonObject
from utcp_bridge.server.relay import directory as directory_module
from utcp_bridge.server.relay.directory import Directory
from utcp_bridge.upstream import Offers, Upstream


class Offering(Upstream):
    def __init__(self, manual: str, name: str, offers: Offers | None) -> None:
        self.manual, self.name, self._offers = manual, name, offers

    @property
    def offers(self) -> Offers | None:
        return self._offers

    async def request(self, method: str, params: JsonObject) -> JsonObject:
        raise AssertionError(method)


def offering(manual: str, uris: list[str], prompts: list[str], templates: tuple[str, ...] = ()) -> Offering:
    offers = Offers(
        capabilities={"resources": {}, "prompts": {}},
        resources=tuple({"uri": uri, "name": uri} for uri in uris),
        resource_templates=tuple({"uriTemplate": one, "name": one} for one in templates),
        prompts=tuple({"name": name} for name in prompts),
    )
    return Offering(manual, manual, offers)


NAMES = st.sampled_from(["a", "A", "a.b", "a_b", "a b", "ä", "a-b", "", "x" * 60, "日本"])
URIS = st.lists(st.sampled_from(["memo://1", "memo://2", "file:///a?b=c#d", "x:y"]), unique=True)
PROMPTS = st.lists(st.sampled_from(["greet", "ask", "a_greet", "greet "]), unique=True)


@given(st.dictionaries(NAMES, st.tuples(URIS, PROMPTS), min_size=1, max_size=5))
def test_every_listed_name_and_uri_leads_to_its_owner(offered: dict[str, tuple[list[str], list[str]]]) -> None:
    upstreams = [offering(manual, *lists) for manual, lists in offered.items()]
    directory = Directory(upstreams)
    expected_uris = sorted((one.manual, uri) for one in upstreams for uri in offered[one.manual][0])
    uris = [entry["uri"] for entry in directory.resources]
    assert len(set(uris)) == len(uris)
    found = [directory.owners(uri) for uri in uris]
    assert sorted((owners[0][0].manual, owners[0][1]) for owners in found) == expected_uris
    assert all(len(owners) == 1 for owners in found)
    for one in upstreams:
        for uri in offered[one.manual][0]:
            [owner] = directory.owners(directory.uri_for(one, uri, wrapped=True))
            assert owner == (one, uri)
    names = [entry["name"] for entry in directory.prompts]
    listed = [owner for name in names if (owner := directory.prompt(name)) is not None]
    assert len(set(names)) == len(names)
    assert {(up.manual, own) for up, own in listed} == {
        (one.manual, own) for one in upstreams for own in offered[one.manual][1]
    }


def test_a_name_does_not_depend_on_upstreams_that_do_not_have_it() -> None:
    shop, store, other = (offering(name, ["memo://1"], ["greet"]) for name in ("shop", "store", "other"))
    two, three = Directory([shop, store]), Directory([other, store, shop])
    assert [entry["name"] for entry in two.prompts] == ["shop_greet", "store_greet"]
    assert {entry["name"] for entry in two.prompts} < {entry["name"] for entry in three.prompts}
    assert {entry["uri"] for entry in two.resources} < {entry["uri"] for entry in three.resources}
    alone = Directory([shop])
    assert [entry["name"] for entry in alone.prompts] == ["greet"]
    assert alone.prompt("shop_greet") == (shop, "greet")
    assert alone.owners("utcp-bridge://SHOP/memo://1") == [(shop, "memo://1")]


def test_a_directory_is_made_again_only_if_an_upstream_offers_something_else() -> None:
    shop, unread = offering("shop", [], []), Offering("later", "later", None)
    directory = Directory([shop, unread])
    assert directory.is_of([shop, unread])
    assert not directory.is_of([unread])
    assert not directory.is_of([shop, offering("store", [], [])])
    shop._offers = Offers()
    assert not directory.is_of([shop])


def test_a_template_says_whose_resource_it_is() -> None:
    shop = offering("shop", [], [], ("memo://notes/{id}",))
    store = offering("store", [], [], ("memo://pages/{id}", "bad://{unclosed"))
    directory = Directory([shop, store])
    assert directory.owners("memo://pages/7") == [(store, "memo://pages/7")]
    assert directory.owners("memo://notes/7") == [(shop, "memo://notes/7")]
    assert [up for up, _ in directory.owners("memo://elsewhere")] == [shop, store]
    assert directory.owners("other://x") == [(shop, "other://x")]
    assert directory.uri_for(store, "memo://pages/7") == "memo://pages/7"
    assert directory.uri_for(store, "memo://elsewhere") == "utcp-bridge://store/memo://elsewhere"
    assert directory.uri_for(store, "https://example.com/") == "https://example.com/"


def test_icons_that_lead_into_a_network_are_left_out() -> None:
    entry = {
        "uri": "memo://1",
        "name": "one",
        "icons": [{"src": "http://10.0.0.1/i.png"}, {"src": "https://x.example/i"}],
    }
    shop = Offering("shop", "shop", Offers(capabilities={"resources": {}}, resources=(entry,)))
    assert Directory([shop]).resources[0]["icons"] == [{"src": "https://x.example/i"}]


@given(st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=6), st.booleans())
def test_a_prompt_of_any_name_has_a_visible_one_that_leads_to_it(names: list[str], shared: bool) -> None:
    upstreams = [offering("shop", [], names), offering("store", [], names if shared else [])]
    directory = Directory(upstreams)
    listed = [entry["name"] for entry in directory.prompts]
    assert len(set(listed)) == len(listed)
    assert all(is_visible_line(name) for name in listed)
    found = [directory.prompt(name) for name in listed]
    assert found == [(one, name) for one in upstreams for name in names if shared or one is upstreams[0]]


def test_lists_of_one_upstream_are_not_compared_with_the_templates_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def compare(template: str, uri: str) -> bool:
        compared.append(template)
        return matches(template, uri)

    matches = directory_module._matches
    monkeypatch.setattr(directory_module, "_matches", compare)
    many = tuple(f"memo://{{id}}/{number}" for number in range(1_000))
    lister, templater = offering("shop", [f"memo://x/{one}z" for one in range(1_000)], []), offering("b", [], [], many)
    directory = Directory([lister, templater])
    assert [entry["uri"] for entry in directory.resources] == [f"memo://x/{one}z" for one in range(1_000)]
    assert compared == []
    assert directory.owners("memo://x/7") == [(templater, "memo://x/7")]
    assert 0 < len(compared) <= 200


@pytest.mark.parametrize("uri", ["http://127.0.0.1/admin", "https://169.254.169.254/latest", "HTTP://10.0.0.1/"])
def test_hosts_do_not_fetch_a_resource_of_a_remote_upstream_at_a_private_address(uri: str) -> None:
    remote, local, written = (offering(name, [], []) for name in ("remote", "local", "written"))
    local.is_local = True
    written.written = frozenset({"127.0.0.1:80", "169.254.169.254:443", "10.0.0.1:80"})
    directory = Directory([remote, local, written])
    assert directory.uri_for(remote, uri) == f"utcp-bridge://remote/{uri}"
    assert directory.uri_for(local, uri) == directory.uri_for(written, uri) == uri


def test_instructions_of_any_length_cost_a_bounded_look() -> None:
    offers = Offers(instructions="a\u202e" * 1_000_000)
    [(_, text)] = Directory([Offering("shop", "shop", offers)]).instructions()
    assert set(text) == {"a"}
    assert len(text) < 20_000
