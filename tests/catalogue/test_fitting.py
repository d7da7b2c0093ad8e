"""Results above their budget are cut in whole rows and members, and stay valid."""

import json

import jsonschema_rs
import mcp_types as types
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from utcp_bridge.catalogue.budget import KNOWN_HOSTS, Cut, ResultAllowance, Shrinker, allowance_for, as_jmespath
from utcp_bridge.catalogue.fitting import TRUNCATED, Budget, Rest, json_size
from utcp_bridge.catalogue.render import Rendering, compact, render_result
from utcp_bridge.catalogue.schemas.conforming import Conformer
from utcp_bridge.catalogue.schemas.portable import portable_output
from utcp_bridge.model import Binary, ContentBlocks, Result
from utcp_bridge.settings import LimitSettings

SMALLEST = 8_192


class Store:
    """Remembers what was kept, under numbers."""

    def __init__(self):
        self.kept = []

    def keep(self, value):
        self.kept.append(value)
        return f"{len(self.kept) - 1:032x}"


def budget(size=SMALLEST, store=None, **fields):
    rest = None if store is None else Rest(store.keep, 600, "read_result", links=True)
    return Budget(size, rest=rest, **fields)


def render(value, size=SMALLEST, store=None, **fields):
    shape = {key: fields.pop(key) for key in ("structured", "conform", "wrapped") if key in fields}
    rendered = render_result(Result(value), Rendering(budget(size, store, **fields), **shape))
    types.CallToolResult.model_validate(rendered)
    return rendered


def texts(rendered):
    return [block["text"] for block in rendered["content"] if block["type"] == "text"]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30)
KEYS = st.text(max_size=12)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))
COUNTS = st.integers(min_value=1, max_value=3_000)
SIZES = st.integers(min_value=SMALLEST, max_value=20_000)


SHAPES = ("rows", "text", "members", "rows and members", "all")
RECIPES = st.tuples(VALUES, st.text(min_size=1, max_size=8), COUNTS, st.sampled_from(SHAPES), st.text("[{", max_size=3))


def large_value(recipe):
    """Build a value of which some part is repeated often, at any place. The recipe is small, the value may be large."""
    value, text, count, shape, way = recipe
    rows, long, members = [value] * count, text * count, {f"{text}{number}": number for number in range(count)}
    shapes = (rows, long, members, [rows, members], {"a": rows, "b": long, "c": members})
    inner = shapes[SHAPES.index(shape)]
    for step in way:
        inner = [inner, value] if step == "[" else {"first": value, "in": inner}
    return inner


def is_part(shown, whole):
    """Return whether `shown` is `whole` without some last rows, members and ends of texts."""
    if isinstance(whole, str):
        return isinstance(shown, str) and whole.startswith(shown)
    if isinstance(whole, list):
        return isinstance(shown, list) and len(shown) <= len(whole) and all(map(is_part, shown, whole))
    if isinstance(whole, dict):
        return isinstance(shown, dict) and all(key in whole and is_part(shown[key], whole[key]) for key in shown)
    return shown == whole


@settings(deadline=None)
@given(RECIPES, SIZES, st.booleans(), st.booleans())
@example((None, "0\x80", 1347, "text", ""), 8192, True, False)  # only the structured content is cut
def test_a_rendered_result_fits_its_budget_and_shows_parts_of_the_whole(recipe, size, structured, prefers):
    value, store = large_value(recipe), Store()
    rendered = render(value, size, store, structured=structured, prefers_structure=prefers)
    assert json_size(rendered) <= size
    plain = json.loads(compact(value)) if not isinstance(value, str) else value
    shown = texts(rendered)[0]
    assert is_part(shown if isinstance(value, str) else json.loads(shown), plain)
    if structured:
        structure = dict(rendered["structuredContent"])
        notice = structure.pop(TRUNCATED, None)
        assert is_part(structure, plain if isinstance(plain, dict) else {"result": plain})
        assert notice is None or "read_result" in notice
    is_whole = "isError" in rendered and store.kept == []
    assert is_whole or store.kept == [value] or not isinstance(value, str)
    assert is_whole == (not any("was cut" in text for text in texts(rendered)[1:]))


ROWS = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": {"type": "object"}}},
    "required": ["items"],
}


@settings(deadline=None)
@given(st.integers(min_value=400, max_value=2_000), SIZES, st.booleans())
def test_the_rows_of_a_cut_result_are_the_first_rows_and_conform(count, size, prefers):
    rows = [{"id": number, "name": f"item {number}"} for number in range(count)]
    schema = portable_output(ROWS, 4_096).schema
    value = {"items": rows, "total": count}
    rendered = render(value, size, Store(), structured=True, conform=Conformer(schema), prefers_structure=prefers)
    structure = rendered["structuredContent"]
    jsonschema_rs.validate(schema, structure)
    for shown in (json.loads(texts(rendered)[0]), structure):
        assert shown["items"] == rows[: len(shown["items"])]
        assert shown["items"]
        assert shown["total"] == count
    assert json_size(rendered) <= size


def test_a_notice_counts_and_says_how_to_read_on():
    store = Store()
    rows = [{"id": number} for number in range(1_000)]
    rendered = render({"data": {"my rows": rows}}, store=store)
    shown, notice = texts(rendered)
    count = len(json.loads(shown)["data"]["my rows"])
    assert notice.startswith(
        f'[The result was cut: {count} of 1,000 rows of `data."my rows"` are shown. For 10 minutes,'
    )
    arguments = json.loads(notice[notice.index("{") : notice.rindex("}") + 1])
    assert arguments == {"handle": "0" * 32, "jmespath": 'data."my rows"', "offset": count}
    assert store.kept == [{"data": {"my rows": rows}}]
    assert rendered["content"][-1]["uri"] == "utcp-result://" + "0" * 32


def test_without_a_store_a_notice_asks_for_less():
    assert texts(render(["x" * 100] * 100))[1].endswith("Ask for less.]")


def test_a_result_that_fits_once_is_whole_in_the_form_that_the_host_shows():
    value = {"items": [{"id": number} for number in range(800)]}
    assert json_size(value) > 8_000
    for prefers in (False, True):
        rendered = render(value, 14_000, Store(), structured=True, prefers_structure=prefers)
        structure = {key: one for key, one in rendered["structuredContent"].items() if key != TRUNCATED}
        assert (json.loads(texts(rendered)[0]) == value, structure == value) == (not prefers, prefers)
        assert json_size(rendered) <= 14_000


def test_text_is_cut_at_the_end_of_a_line():
    lines = "".join(f"line {number}\n" for number in range(2_000))
    shown, notice = texts(render(lines, store=Store()))
    assert lines.startswith(shown)
    assert shown.endswith("\n")
    assert f'"offset": {len(shown)}' in notice


def test_text_that_is_json_loses_whole_rows():
    blocks = ContentBlocks([{"type": "text", "text": json.dumps([{"n": n} for n in range(2_000)], indent=2)}])
    shown, notice = texts(render(blocks, store=Store()))
    rows = json.loads(shown)
    assert rows == [{"n": n} for n in range(len(rows))]
    assert f"{len(rows)} of 2,000 rows" in notice


@settings(deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=9_000), min_size=1, max_size=40), SIZES, st.booleans())
def test_content_of_another_server_fits_the_budget_too(lengths, size, has_structure):
    blocks = [{"type": "text", "text": "é" * length} for length in lengths]
    structured = {"rows": [{"n": n} for n in lengths] * 100} if has_structure else None
    rendered = render(ContentBlocks(blocks, structured), size, Store())
    assert json_size(rendered) <= size


def test_more_blocks_than_fit_are_counted():
    store = Store()
    blocks = [{"type": "text", "text": f"block {number}"} for number in range(1_000)]
    rendered = render(ContentBlocks(blocks), store=store)
    assert "of 1,000 blocks are shown" in texts(rendered)[-1]
    assert store.kept == [blocks]
    assert texts(rendered)[0] == "block 0"


def test_a_screenshot_above_the_budget_is_whole_and_a_larger_image_is_a_notice():
    store = Store()
    shot, poster = Binary(b"x" * 60_000, "image/png"), Binary(b"y" * 900_000, "image/png")
    rendered = render([poster, {"n": 1}, shot], store=store)
    assert [block["type"] for block in rendered["content"]] == ["text", "resource_link", "text", "image"]
    assert texts(rendered)[0].startswith("[900,000 bytes of image/png are left out,")
    assert store.kept == [poster]


def test_a_large_embedded_file_is_a_notice_with_a_link():
    store = Store()
    notice, link = render(Binary(b"%PDF" * 9_000, "application/pdf"), store=store)["content"]
    assert notice["text"].endswith("the whole is the resource utcp-result://" + "0" * 32 + ".]")
    assert link["mimeType"] == "application/pdf"
    assert store.kept[0].data == b"%PDF" * 9_000


def test_a_large_embedded_text_is_cut_within_its_resource():
    resource = {"uri": "log://a.log", "text": "entry\n" * 5_000}
    first = render(ContentBlocks([{"type": "resource", "resource": resource}]), store=Store())["content"][0]
    assert first["resource"]["uri"] == "log://a.log"
    assert resource["text"].startswith(first["resource"]["text"])


def test_a_large_structure_beside_a_short_text_is_cut_and_announced():
    rendered = render(ContentBlocks([{"type": "text", "text": "ok"}], {"rows": [1] * 9_500}), store=Store())
    assert texts(rendered)[0] == "ok"
    assert texts(rendered)[1].startswith("[In the structured content: The result was cut:")
    assert set(rendered["structuredContent"]) == {"rows", TRUNCATED}


def test_a_schema_that_admits_numbers_only_gets_no_notice_in_the_structure():
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    value = {f"key {number}": number for number in range(1_000)}
    rendered = render(value, structured=True, conform=Conformer(schema), store=Store())
    jsonschema_rs.validate(schema, rendered["structuredContent"])
    assert "was cut" in texts(rendered)[1]


def test_a_very_deep_value_is_cut_quickly():
    deep = "x" * 50_000
    for _ in range(150):
        deep = {"in": deep}
    rendered = render(deep, store=Store())
    assert json_size(rendered) <= SMALLEST


@settings(deadline=None)
@given(RECIPES, st.integers(min_value=60, max_value=5_000))
def test_a_shortened_value_has_at_most_its_limit(recipe, limit):
    value = large_value(recipe)
    shrinker = Shrinker(json_size)
    shown = shrinker.fit(value, limit)
    assert json_size(shown) <= limit
    assert bool(shrinker.cuts) == (shown != value)


@pytest.mark.parametrize(
    ("path", "expression"),
    [((), ""), (("a", 0, "b"), "a[0].b"), ((3, "x y", 'q"'), '[3]."x y"."q\\""'), (("é",), '"\\u00e9"')],
)
def test_a_place_is_named_by_its_jmespath_expression(path, expression):
    jmespath = pytest.importorskip("jmespath")
    assert as_jmespath(path) == expression
    if expression:
        root = value = {}
        for step in path:
            value = value.setdefault(step, {}) if isinstance(value, dict) else value
        assert Cut(path, 1, 2, "rows").path == path
        jmespath.compile(expression)
        assert root is not None


@pytest.mark.parametrize(
    ("settings", "client", "allowance"),
    [
        ({}, None, ResultAllowance(100_000)),
        ({}, "some-host", ResultAllowance(100_000)),
        ({}, "Claude-Code", KNOWN_HOSTS["claude-code*"]),
        ({"max_result_bytes": 50_000}, "claude-code", ResultAllowance(50_000, prefers_structure=True)),
        (
            {"max_result_bytes_by_client": {"CODEX*": 9_500}},
            "codex-mcp-client",
            ResultAllowance(9_500, prefers_structure=True),
        ),
        ({"max_result_bytes_by_client": {"x*": 9_500}}, "y", ResultAllowance(100_000)),
        ({"max_result_bytes": 10}, None, ResultAllowance(8_192)),
    ],
)
def test_a_client_has_the_allowance_of_the_settings_or_of_its_host(settings, client, allowance):
    assert allowance_for(LimitSettings(**settings), client) == allowance


@pytest.mark.parametrize("size", [1_000, 45_000])
def test_a_result_that_surely_fits_is_not_measured(monkeypatch, size):
    monkeypatch.setattr("utcp_bridge.catalogue.render.fitted", None)
    rendered = render_result(Result({"a": "b" * size}), Rendering(Budget(100_000), structured=True))
    assert orjson.loads(rendered["content"][0]["text"]) == rendered["structuredContent"]
