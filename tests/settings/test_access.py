"""The settings of who may call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from utcp_bridge.settings import BridgeSettings, ManualOptions, grouped_name, setting_named

NEVER = ["authorization", "cookie", "host", "connection", "te", "content-length", "x-api-key", "dpop"]
BEGINNINGS = ["proxy-", "mcp-", "sec-", "x-forwarded-", "access-control-"]
NAME = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=10)


@given(name=st.sampled_from(NEVER) | st.builds(str.__add__, st.sampled_from(BEGINNINGS), NAME), upper=st.booleans())
def test_headers_with_credentials_or_of_the_connection_are_never_forwarded(name, upper):
    with pytest.raises(ValidationError, match="is never forwarded"):
        ManualOptions(forward_headers=[name.upper() if upper else name])


@given(name=NAME)
def test_other_headers_may_be(name):
    assert ManualOptions(forward_headers=[f"x-my-{name}"]).forward_headers == (f"x-my-{name}",)


@pytest.mark.parametrize("name", ["X A", "", "X:A", "é", "X\r\nY"])
def test_a_name_that_is_not_one_of_a_header_is_refused(name):
    with pytest.raises(ValidationError):
        ManualOptions(forward_headers=[name])


@pytest.mark.parametrize(
    "url", ["login", "ftp://x", "https://", "https://u:p@x", "https://x?y=1", "https://x#y", "https://x:0"]
)
def test_a_url_of_the_authorization_server_is_whole_and_plain(url):
    with pytest.raises(ValidationError, match="It must be a URL"):
        BridgeSettings(oauth_issuer=url)


@pytest.mark.parametrize("scope", ["", "a b", 'a"b', "a\\b", "é"])
def test_a_scope_is_one_word(scope):
    with pytest.raises(ValidationError, match="A scope is a word"):
        BridgeSettings(required_scopes=[scope])


def test_a_secret_of_a_group_can_come_from_a_file(tmp_path):
    file = tmp_path / "secret"
    file.write_text("from the file\n")
    assert grouped_name("oauth_client_secret_file") == "oauth.client_secret_file"
    assert setting_named("oauth.client_secret_file") == "oauth_client_secret_file"
    settings = BridgeSettings.model_validate({"oauth": {"client_secret_file": str(file)}})
    assert settings.oauth_client_secret.get_secret_value() == "from the file"
    assert "from the file" not in repr(settings)
