"""The data classes: type guards, defaults, and a repr without secrets."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from utcp_bridge import model
from utcp_bridge.model import (
    Binary,
    Call,
    ContentBlocks,
    Fault,
    Faults,
    Result,
    Source,
    Tool,
    Trust,
    WrittenValue,
    discard,
    in_seconds,
    is_list,
    is_object,
    made_call,
    made_result,
    matches_glob,
)
from utcp_bridge.placement.compiling import CallTemplate

CANARY = "canary-77c1"


@pytest.mark.parametrize(
    ("value", "as_object", "as_list"),
    [({}, True, False), ([], False, True), ("{}", False, False), (None, False, False)],
)
def test_guards_distinguish_objects_and_arrays(*, value: object, as_object: bool, as_list: bool) -> None:
    assert (is_object(value), is_list(value)) == (as_object, as_list)


@pytest.mark.anyio
async def test_discard_takes_any_partial_result() -> None:
    assert await discard({"partial": 1}) is None


def test_remote_manuals_are_trusted_less_than_the_operators_own() -> None:
    assert Trust.REMOTE < Trust.OPERATOR
    source = Source("shop")
    assert (source.trust, source.trusted, source.tls.verify, source.origin) == (Trust.OPERATOR, False, True, None)


def test_no_repr_shows_a_field_that_may_hold_a_secret() -> None:
    source = Source("shop")
    tool = Tool(
        source,
        "search",
        "http",
        {"url": CANARY},
        overlay={"headers": CANARY},
        inputs={"default": CANARY},
        outputs={"default": CANARY},
    )
    template = CallTemplate(name="shop", call_template_type="http", auth={"api_key": CANARY})
    shown = [tool, Call(tool, {"password": CANARY}), Binary(CANARY.encode()), template]
    assert all(CANARY not in f"{one!r} {one!s}" for one in shown)
    assert repr(template) == "<CallTemplate http 'shop'>"


def test_a_tools_names_follow_from_its_manual() -> None:
    tool = Tool(Source("shop"), "search", "http", {})
    assert (tool.manual, tool.qualified_name) == ("shop", "shop.search")
    assert tool.inputs == {"type": "object", "properties": {}}


def test_tools_with_equal_fields_are_not_equal() -> None:
    one, other = (Tool(Source("shop"), "search", "http", {}) for _ in range(2))
    assert one != other
    assert one.inputs is not other.inputs
    assert len({one, other}) == 2


def test_what_is_made_as_a_draft_is_what_the_class_makes() -> None:
    tool, written = Tool(Source("a"), "b", "c", {}), WrittenValue([1], b"[1]")
    call = made_call(tool, {"d": 1}, "id")
    assert (type(call), call, repr(call)) == (Call, Call(tool, {"d": 1}, "id"), repr(Call(tool, {"d": 1}, "id")))
    result = made_result([1], {"status": 200}, written, written.value)
    expected = Result([1], meta={"status": 200}, written=written, clean=written.value)
    assert type(result) is Result
    names = [one.name for one in dataclasses.fields(result)]
    assert [getattr(result, name) for name in names] == [getattr(expected, name) for name in names]
    assert dataclasses.replace(result, value=2) == dataclasses.replace(expected, value=2)


@pytest.mark.parametrize(
    "noun",
    [
        Source("a"),
        Call(Tool(Source("a"), "b", "c", {}), {}),
        made_call(Tool(Source("a"), "b", "c", {}), {}, ""),
        Result(1),
        made_result(1, {}, None, None),
    ],
)
def test_nouns_are_frozen(noun: object) -> None:
    field = dataclasses.fields(noun)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(noun, field, None)


def test_a_template_is_frozen_drops_unknown_keys_and_shows_no_input_in_its_errors() -> None:
    template = CallTemplate.model_validate({"call_template_type": "http", "unknown": 1})
    assert not hasattr(template, "unknown")
    with pytest.raises(ValidationError):
        template.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError) as caught:
        CallTemplate.model_validate({"call_template_type": "http", "auth": CANARY})
    assert CANARY not in str(caught.value)


def test_a_fault_reads_as_a_sentence() -> None:
    assert str(Fault("shop", "is not a manual.")) == "shop: is not a manual."
    assert str(Fault("shop", "is not a manual.", "Look at the URL.")) == "shop: is not a manual. Look at the URL."
    assert Fault("shop", "x").severity == "error"


def test_every_public_noun_exists() -> None:
    assert len(model.__all__) == len(set(model.__all__))
    assert all(hasattr(model, name) for name in model.__all__)


@pytest.mark.parametrize(
    ("glob", "text", "matches"),
    [
        ("get_*", "GET_user", True),
        ("GET_*", "get_user", True),
        ("Straße", "STRASSE", True),
        ("get_?", "get_12", False),
        ("[gp]et", "PET", True),
        ("get", "get_user", False),
        ("*", "", True),
    ],
)
def test_a_glob_matches_the_whole_text_in_any_case(glob: str, text: str, matches: bool) -> None:
    assert matches_glob(glob, text) is matches


def test_faults_are_collected_by_severity() -> None:
    faults = Faults()
    faults.error("here", "broken", "Repair it.")
    faults.warn("there", "odd")
    faults.extend([Fault("elsewhere", "bad")])
    assert [(fault.severity, str(fault)) for fault in faults.faults] == [
        ("error", "here: broken Repair it."),
        ("warning", "there: odd"),
        ("error", "elsewhere: bad"),
    ]


def test_a_fault_is_collected_once_and_up_to_the_limit() -> None:
    faults = Faults(limit=1_000)
    for number in range(3_000):
        faults.warn(f"#/{number // 2}", "odd")
    assert len(faults.faults) == 1_000
    assert str(faults.faults[1]) == "#/1: odd"


@pytest.mark.parametrize(
    ("seconds", "words"), [(1, "1 second"), (1.0, "1 second"), (0.5, "0.5 seconds"), (60.0, "60 seconds")]
)
def test_a_time_in_a_message_agrees_with_its_number(seconds: float, words: str) -> None:
    assert in_seconds(seconds) == words


@pytest.mark.parametrize(
    ("blocks", "value"),
    [
        (ContentBlocks([], structured={"result": 5}), 5),
        (ContentBlocks([], structured={"result": {"a": 1}}), {"result": {"a": 1}}),
        (ContentBlocks([{"type": "text", "text": "5"}], structured={"sum": 5}), {"sum": 5}),
        (ContentBlocks([{"type": "text", "text": "plain"}]), "plain"),
        (ContentBlocks([{"type": "text", "text": "5"}]), 5),
        (ContentBlocks([{"type": "text", "text": "01234"}]), "01234"),
        (ContentBlocks([{"type": "text", "text": "1e5"}]), "1e5"),
        (ContentBlocks([{"type": "text", "text": '"quoted"'}]), '"quoted"'),
        (ContentBlocks([{"type": "text", "text": ' {"a": [1]}'}]), {"a": [1]}),
        (ContentBlocks([]), []),
        (ContentBlocks([{"type": "text", "text": "a"}, {"type": "text", "text": "2"}]), ["a", 2]),
        (ContentBlocks([{"type": "image", "data": "AAEC", "mimeType": "image/png"}]), Binary(b"\0\1\2", "image/png")),
        (
            ContentBlocks([{"type": "image", "data": "?", "mimeType": "image/png"}]),
            {"type": "image", "data": "?", "mimeType": "image/png"},
        ),
        (ContentBlocks([{"type": "resource", "resource": {"uri": "a:b", "text": "5"}}]), "5"),
        (ContentBlocks([{"type": "resource_link", "uri": "a:b"}]), {"type": "resource_link", "uri": "a:b"}),
        (ContentBlocks(["odd"]), "odd"),
    ],
)
def test_content_blocks_as_plain_data(blocks: ContentBlocks, value: object) -> None:
    assert blocks.plain() == value


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda part: st.lists(part) | st.dictionaries(st.text(), part),
    )
)
def test_a_value_that_a_server_writes_as_json_text_comes_back(value: object) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    back = ContentBlocks([{"type": "text", "text": text}]).plain()
    assert back == value or (isinstance(value, str) and back == json.loads(value))
