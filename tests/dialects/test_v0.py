"""The names of v0.x."""

import pytest

from utcp_bridge.dialects.v0 import canonical_kind, rename_template


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("http_stream", "streamable_http"),
        ("http_sse", "sse"),
        ("http_ndjson", "streamable_http"),
        ("http_octet_stream", "streamable_http"),
        ("http", "http"),
        ("custom", "custom"),
    ],
)
def test_types_get_their_v1_names(old, new):
    assert canonical_kind(old) == new


@pytest.mark.parametrize("key", ["provider_type", "transport_type", "type", "call_template_type"])
def test_a_provider_keeps_everything_under_its_v1_names(key):
    raw = {"name": "n", key: "http_stream", "url": "u", "chunk_size": 5, "unknown": [1]}

    assert rename_template(raw, "http_stream") == {
        "call_template_type": "streamable_http",
        "name": "n",
        "url": "u",
        "chunk_size": 5,
        "unknown": [1],
    }


def test_a_text_provider_of_a_path_is_a_file():
    assert rename_template({"provider_type": "text", "file_path": "a.json"}, "text")["call_template_type"] == "file"


@pytest.mark.parametrize("raw", [{"content": "{}"}, {"content": "{}", "file_path": "a"}, {"base_path": "tools/"}])
def test_other_text_providers_stay_text(raw):
    assert rename_template(raw, "text")["call_template_type"] == "text"


def test_the_command_of_a_cli_provider_keeps_its_own_name():
    raw = {"provider_type": "cli", "command_name": "my-command --utcp"}

    assert rename_template(raw, "cli") == {"call_template_type": "cli", "command_name": "my-command --utcp"}
