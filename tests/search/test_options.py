import pytest

from utcp_bridge.errors import ConfigError
from utcp_bridge.search.options import read_semantic_options

ENDPOINT = {"url": "https://api.example.com/v1/embeddings", "model": "small"}


def test_an_api_key_goes_as_a_bearer_token():
    options = read_semantic_options({"endpoint": {**ENDPOINT, "api_key": "${KEY}"}})
    assert options.endpoint.credentials == {
        "auth_type": "api_key",
        "api_key": "Bearer ${KEY}",
        "var_name": "Authorization",
    }


def test_auth_is_taken_as_it_stands():
    auth = {"auth_type": "basic", "username": "u", "password": "p"}
    assert read_semantic_options({"endpoint": {**ENDPOINT, "auth": auth}}).endpoint.credentials == auth


def test_words_are_ranked_by_bm25_unless_another_strategy_is_named():
    assert read_semantic_options({"endpoint": ENDPOINT}).words == {"tool_search_strategy_type": "bm25"}
    other = {"tool_search_strategy_type": "tag_and_description_word_match", "tag_weight": 2}
    assert read_semantic_options({"endpoint": ENDPOINT, "lexical": other}).words == other


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({}, "either endpoint or model_folder"),
        ({"endpoint": ENDPOINT, "model_folder": "m"}, "either endpoint or model_folder"),
        ({"endpoint": {**ENDPOINT, "api_key": "s3cret", "auth": {}}}, "api_key or auth, not both"),
        ({"endpoint": {"url": "ftp://x", "model": "m"}}, "endpoint.url"),
        ({"endpoint": ENDPOINT, "tiemout": 3}, "tiemout"),
        ({"endpoint": ENDPOINT, "query_timeout": 0}, "query_timeout"),
    ],
)
def test_a_fault_is_told_by_its_field_and_without_values(raw, told):
    with pytest.raises(ConfigError, match=told) as caught:
        read_semantic_options(raw)
    assert "s3cret" not in str(caught.value)


def test_a_key_is_not_shown():
    assert "s3cret" not in repr(read_semantic_options({"endpoint": {**ENDPOINT, "api_key": "s3cret"}}))
