from utcp_bridge.registry.index import ListingIndex
from utcp_bridge.registry.listing import Listing

WEATHER = Listing("weather", "https://a.example/w", "Forecasts for any city.", ("Weather", "geo"))
MAPS = Listing("maps", "https://a.example/m", "Routes and places.", ("geo",))
MAIL = Listing("mail", "https://a.example/l", "Sends messages.")
INDEX = ListingIndex([WEATHER, MAPS, MAIL], {"mail": "send_letter Sends a letter by post"})


def names(**wishes):
    return [listing.name for listing in INDEX.find(**wishes)]


def test_without_wishes_all_come_by_name():
    assert names() == ["mail", "maps", "weather"]
    assert ListingIndex([]).find(q="x") == []


def test_any_of_the_tags_suffices_whatever_its_case():
    assert names(tags=["WEATHER"]) == ["weather"]
    assert names(tags=["weather", "geo"]) == ["maps", "weather"]
    assert names(tags=["none"]) == []


def test_words_rank_and_find_what_is_in_the_manual_too():
    assert names(q="forecast for a city")[0] == "weather"
    assert names(q="letter by post") == ["mail"]
    assert names(q="routes", tags=["geo"]) == ["maps"]
    assert names(q="routes", tags=["weather"]) == []
