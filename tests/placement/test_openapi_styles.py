"""The values of OpenAPI's own style table (Parameter Object, style examples)."""

from urllib.parse import quote

import pytest

from utcp_bridge.placement.openapi_styles import expand_pairs, expand_segment, expand_simple

LIST = ["blue", "black", "brown"]
RGB = {"R": 100, "G": 200, "B": 150}


@pytest.mark.parametrize(
    ("style", "explode", "value", "text"),
    [
        ("simple", False, "blue", "blue"),
        ("simple", False, LIST, "blue,black,brown"),
        ("simple", False, RGB, "R,100,G,200,B,150"),
        ("simple", True, RGB, "R=100,G=200,B=150"),
        ("label", False, "blue", ".blue"),
        ("label", False, LIST, ".blue,black,brown"),
        ("label", True, LIST, ".blue.black.brown"),
        ("label", False, RGB, ".R,100,G,200,B,150"),
        ("label", True, RGB, ".R=100.G=200.B=150"),
        ("matrix", False, "blue", ";color=blue"),
        ("matrix", False, "", ";color"),
        ("matrix", False, LIST, ";color=blue,black,brown"),
        ("matrix", True, LIST, ";color=blue;color=black;color=brown"),
        ("matrix", False, RGB, ";color=R,100,G,200,B,150"),
        ("matrix", True, RGB, ";R=100;G=200;B=150"),
        ("pipeDelimited", False, LIST, "blue%7Cblack%7Cbrown"),
        ("simple", False, ["a,b", None, True], "a%2Cb,true"),
    ],
)
def test_a_path_segment_follows_the_table(style, explode, value, text):
    assert expand_segment(style, "color", value, explode=explode, encode=lambda part: quote(part, safe="")) == text


@pytest.mark.parametrize(
    ("style", "explode", "value", "text"),
    [
        ("form", True, "blue", "color=blue"),
        ("form", True, "", "color="),
        ("form", False, LIST, "color=blue,black,brown"),
        ("form", True, LIST, "color=blue&color=black&color=brown"),
        ("form", False, RGB, "color=R,100,G,200,B,150"),
        ("form", True, RGB, "R=100&G=200&B=150"),
        ("spaceDelimited", False, LIST, "color=blue%20black%20brown"),
        ("spaceDelimited", False, RGB, "color=R%20100%20G%20200%20B%20150"),
        ("pipeDelimited", False, LIST, "color=blue%7Cblack%7Cbrown"),
        ("tabDelimited", False, LIST, "color=blue%09black%09brown"),
        ("deepObject", True, RGB, "color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150"),
        (
            "deepObject",
            True,
            {"a": {"b": [1, 2]}, "n": None},
            "color%5Ba%5D%5Bb%5D%5B%5D=1&color%5Ba%5D%5Bb%5D%5B%5D=2",
        ),
        ("deepObject", True, [{"a": 1}, {"a": 2}], "color%5B0%5D%5Ba%5D=1&color%5B1%5D%5Ba%5D=2"),
        ("form", False, [], ""),
        ("form", True, {}, ""),
        ("form", True, [{"a": 1}], "color=%7B%22a%22%3A1%7D"),
    ],
)
def test_query_pairs_follow_the_table(style, explode, value, text):
    pairs = expand_pairs(style, "color", value, explode=explode, encode=lambda part: quote(part, safe=""))
    assert "&".join(f"{name}={value}" for name, value in pairs) == text


def test_a_header_is_joined_by_its_styles_delimiter():
    assert expand_simple("simple", LIST, explode=False, encode=str) == "blue,black,brown"
    assert expand_simple("spaceDelimited", LIST, explode=False, encode=str) == "blue black brown"


def test_an_array_within_an_exploded_object_repeats_its_name():
    value = {"page": 1, "sort": ["a", None, "b"], "none": [], "deep": [{"x": 1}], "gone": None}
    pairs = expand_pairs("form", "pageable", value, explode=True, encode=lambda part: part)
    assert pairs == [("page", "1"), ("sort", "a"), ("sort", "b"), ("deep", '[{"x":1}]')]
