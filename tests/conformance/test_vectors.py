"""The vectors: each file matches the schema, its names are known, and a vector becomes what a client is given."""

import json
import shutil

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.conformance.adapters import SHIPPED
from utcp_bridge.conformance.vectors import chosen_topics, filled, kit_folder, placeholders, topics
from utcp_bridge.errors import ConfigError

FILES = sorted((kit_folder() / "vectors").glob("*.yaml"))
VECTORS = [vector for topic in topics() for vector in topic.vectors]
ONE = {
    "title": "One",
    "kind": "http",
    "generations": ["v1", "v0"],
    "vectors": [
        {
            "id": "one",
            "title": "It does.",
            "source": "Here.",
            "tool": {"template": {"url": "<http>/x"}},
            "arguments": {"n": 1, "s": "x", "b": True, "l": [], "o": {}, "f": 1.5, "z": None},
            "request": {"path": "/x"},
        }
    ],
}


@pytest.fixture
def kit(tmp_path):
    """Return what reads a kit with one file of vectors."""

    def read(content):
        (tmp_path / "vectors").mkdir(exist_ok=True)
        shutil.copy(kit_folder() / "vectors.schema.json", tmp_path)
        (tmp_path / "vectors" / "one.yaml").write_text(yaml.safe_dump(content))
        return topics(tmp_path)

    return read


def test_the_kit_has_many_vectors_of_each_kind():
    assert len({vector.id.partition("@")[0] for vector in VECTORS}) >= 200
    kinds = {vector.kind for vector in VECTORS}
    assert kinds >= {"http", "sse", "streamable_http", "http_stream", "websocket", "graphql", "grpc", "tcp", "udp"}
    assert kinds >= {"cli", "mcp", "text", "file", "openapi", "webrtc"}
    assert {vector.support for vector in VECTORS} - kinds == {"grpc-reflection"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_divergences_name_implementations_that_the_kit_has(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    names = {name for one in content.get("divergences", []) for name in one["known"]}
    assert names <= set(SHIPPED)


def test_a_vector_becomes_a_manual_and_a_configuration_of_its_generation(kit):
    v1, v0 = kit(ONE)
    assert (v1.name, v0.name) == ("one (v1)", "one (v0)")
    (first,), (second,) = v1.vectors, v0.vectors
    assert (first.id, second.id) == ("one/one@v1", "one/one@v0")
    tool = first.manual["tools"][0]
    assert tool["tool_call_template"] == {"call_template_type": "http", "url": "<http>/x"}
    types = {name: schema.get("type") for name, schema in tool["inputs"]["properties"].items()}
    expected = {"n": "integer", "s": "string", "b": "boolean", "l": "array", "o": "object", "f": "number", "z": None}
    assert types == expected
    assert second.manual["tools"][0]["tool_provider"] == {"provider_type": "http", "url": "<http>/x"}
    entry = {"name": "m", "call_template_type": "http", "url": "<http>/utcp", "http_method": "GET"}
    assert first.configuration == {"variables": {}, "manual_call_templates": [entry]}
    assert second.configuration[0]["provider_type"] == "http"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "one.yaml, /vectors/0: .*colour"),
        ({"title": "no full stop"}, "one.yaml, /vectors/0/title"),
        ({"error": "sad"}, "one.yaml, /vectors/0/error"),
        ({"request": {"pth": "/x"}}, "one.yaml, /vectors/0/request: .*pth"),
    ],
    ids=["member", "title", "error", "request"],
)
def test_a_mistake_in_a_file_is_reported_with_its_place(kit, change, message):
    with pytest.raises(ConfigError, match=message):
        kit({**ONE, "vectors": [{**ONE["vectors"][0], **change}]})


def test_a_file_that_is_not_yaml_is_reported_with_its_line(kit, tmp_path):
    kit(ONE)
    (tmp_path / "vectors" / "two.yaml").write_text("title: Two\nkind: {http\n")
    with pytest.raises(ConfigError, match=r"two\.yaml is not valid YAML: .*line 3"):
        topics(tmp_path)


def test_a_vector_must_expect_something(kit):
    with pytest.raises(ConfigError, match=r"one\.yaml, /vectors/0"):
        kit({**ONE, "vectors": [{key: value for key, value in ONE["vectors"][0].items() if key != "request"}]})


def test_two_vectors_with_one_id_are_refused(kit):
    with pytest.raises(ConfigError, match="Two vectors have the id one/one@v1"):
        kit({**ONE, "vectors": ONE["vectors"] * 2})


def test_a_divergence_of_an_unknown_vector_is_refused(kit):
    divergence = {"vectors": ["two"], "right": "x", "ours": "x", "known": {"utcp-sdk": "x"}}
    with pytest.raises(ConfigError, match="a divergence names two"):
        kit({**ONE, "divergences": [divergence]})


def test_vectors_are_chosen_by_their_ids():
    (topic,) = chosen_topics(["http/path@v1"])
    assert [one.id for one in topic.vectors] == ["http/path@v1"]
    assert [one.id for topic in chosen_topics(["http/path"]) for one in topic.vectors] == [
        "http/path@v1",
        "http/path@v0",
    ]
    with pytest.raises(ConfigError, match="No vector matches nothing"):
        chosen_topics(["nothing"])


def test_placeholders_are_filled_in_with_their_types():
    value = {"port": "<tcp-port>", "url": "<http>/a/<tcp-port>", "<folder>": ["<unknown>", 1, None]}
    assert placeholders(value) == {"tcp-port", "http", "folder"}
    known = {"tcp-port": 7, "http": "http://h", "folder": "/f"}
    assert filled(value, known) == {"port": 7, "url": "http://h/a/7", "/f": ["<unknown>", 1, None]}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_what_has_no_placeholder_stays(value):
    assert json.loads(json.dumps(filled(value, {}))) == value
