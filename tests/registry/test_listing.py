import re

import pytest

from utcp_bridge.errors import ManualError
from utcp_bridge.registry.listing import Listing, ListingIndex, read_page

BASE = "https://registry.example.com/manuals"
HASH = "0123456789abcdef" * 4


def read(*manuals, **keys):
    return read_page({"manuals": list(manuals), **keys}, base=BASE, where="the registry")


def test_a_listing_is_read_and_written_unchanged():
    raw = {
        "name": "weather",
        "url": "https://api.example.com/utcp",
        "description": "Weather.",
        "tags": ["a", "b"],
        "manual_version": "2.0",
        "sha256": HASH,
    }
    page = read(raw, next="abc")
    assert [listing.as_json() for listing in page.listings] == [raw]
    assert (page.next, page.faults) == ("abc", [])


def test_a_listing_needs_only_a_url_which_may_be_relative():
    page = read("https://api.example.com/weather.json", {"url": "manuals/maps.yaml", "tags": "x", "description": 3})
    assert page.listings == [
        Listing("weather", "https://api.example.com/weather.json"),
        Listing("maps", "https://registry.example.com/manuals/maps.yaml"),
    ]


@pytest.mark.parametrize(
    ("manual", "words"),
    [
        (3, "must be an object, not a number"),
        ({"name": "a"}, "no `url`"),
        ({"url": "file:///etc/passwd"}, "has no scheme or no host"),
        ({"url": "ftp://example.com/x"}, "not 'ftp'"),
        ({"url": "https://user@example.com/x"}, "user name"),
        ({"url": "https://[broken"}, "Invalid|cannot be read"),
        ({"url": "https://a.example", "sha256": "abc"}, "must be a SHA-256"),
        ({"url": "https://a.example", "sha256": "g" * 64}, "must be a SHA-256"),
        ({"name": "good", "url": "https://a.example"}, "also named 'good'"),
    ],
)
def test_an_unusable_listing_leaves_the_others_unaffected(manual, words):
    page = read({"name": "good", "url": "https://a.example/1"}, manual, {"name": "late", "url": "https://a.example/2"})
    assert [listing.name for listing in page.listings] == ["good", "late"]
    [fault] = page.faults
    assert fault.where == "the registry, manual 2"
    assert re.search(words, fault.what)


def listed(count):
    return [{"name": f"m{number}", "url": f"https://a.example/{number}"} for number in range(count)]


def test_the_first_ten_thousand_manuals_of_one_document_count():
    page = read(*listed(10_000))
    assert (len(page.listings), page.faults) == (10_000, [])
    page = read(*listed(12_000))
    assert len(page.listings) == 10_000
    [fault] = page.faults
    assert (fault.what, fault.severity) == ("it lists 12,000 manuals; the first 10,000 count.", "warning")


def test_faults_are_kept_for_a_hundred_listings():
    page = read(*[3] * 5_000, {"name": "late", "url": "https://a.example/2"})
    assert [listing.name for listing in page.listings] == ["late"]
    assert len(page.faults) == 100


@pytest.mark.parametrize(
    ("manual", "words"),
    [
        ({"name": "n" * 101, "url": "https://a.example"}, "its name is longer than 100 characters"),
        ({"name": "a", "url": f"https://a.example/{'x' * 8_200}"}, "its `url` is longer than 8,192 characters"),
        ({"url": "x" * 1_000_000}, "its `url` is longer than 8,192 characters"),
    ],
)
def test_a_listing_with_a_long_name_or_address_is_left_out_and_its_fault_is_short(manual, words):
    page = read(manual, {"name": "n" * 100, "url": f"https://a.example/{'x' * 8_000}"})
    assert [listing.name for listing in page.listings] == ["n" * 100]
    [fault] = page.faults
    assert words in fault.what
    assert len(str(fault)) < 300


def test_the_texts_of_a_listing_are_cut():
    texts = {"description": "d" * 50_000, "tags": ["t" * 5_000] * 5_000, "manual_version": "v" * 5_000}
    [listing] = read({"name": "a", "url": "https://a.example", **texts}).listings
    assert (len(listing.description), len(listing.manual_version)) == (4_096, 100)
    assert [len(tag) for tag in listing.tags] == [100] * 100


def test_names_are_made_of_word_characters():
    assert [listing.name for listing in read({"name": "__my api!", "url": "https://a.example"}).listings] == ["my_api"]


@pytest.mark.parametrize("document", [{"utcp_version": "1.0.1", "tools": []}, {"openapi": "3.0.3", "paths": {}}])
def test_a_manual_counts_as_a_listing_of_itself(document):
    page = read_page(document, base="https://api.example.com/.well-known/utcp.json", where="it")
    assert [listing.url for listing in page.listings] == ["https://api.example.com/.well-known/utcp.json"]


@pytest.mark.parametrize("document", [[], {}, {"manuals": {}}, "text", None, {"manual_call_templates": []}])
def test_other_documents_are_not_a_registry(document):
    with pytest.raises(ManualError, match="it is not a registry"):
        read_page(document, base=BASE, where="it")


WEATHER = Listing("weather", "https://a.example/w", "Forecasts for any city.", ("Weather", "geo"))
MAPS = Listing("maps", "https://a.example/m", "Routes and places.", ("geo",))
MAIL = Listing("mail", "https://a.example/l", "Sends messages.")
INDEX = ListingIndex([WEATHER, MAPS, MAIL], {"mail": "send_letter Sends a letter by post"})


def names(**wishes):
    return [listing.name for listing in INDEX.find(**wishes)]


def test_without_filters_all_listings_come_by_name():
    assert names() == ["mail", "maps", "weather"]
    assert ListingIndex([]).find(q="x") == []


def test_one_matching_tag_in_any_letter_case_is_enough():
    assert names(tags=["WEATHER"]) == ["weather"]
    assert names(tags=["weather", "geo"]) == ["maps", "weather"]
    assert names(tags=["none"]) == []


def test_words_rank_listings_and_match_text_of_their_manuals():
    assert names(q="forecast for a city")[0] == "weather"
    assert names(q="letter by post") == ["mail"]
    assert names(q="routes", tags=["geo"]) == ["maps"]
    assert names(q="routes", tags=["weather"]) == []
