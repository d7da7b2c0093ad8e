"""What an `auth` object may say, and the error for one that cannot be used."""

import pytest

from utcp_bridge.auth.models import parse_auth
from utcp_bridge.errors import ConfigError

KEY = "canary-key-1"


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ({"auth_type": "digest"}, "auth_type` is 'digest'"),
        ({}, "auth_type` is None"),
        ({"auth_type": ["api_key"]}, "auth_type` is"),
        ({"auth_type": "api_key"}, r"auth\.api_key cannot be used: Field required"),
        ({"auth_type": "api_key", "api_key": ""}, r"auth\.api_key"),
        ({"api_key": KEY, "location": "body"}, r"auth\.location"),
        ({"api_key": KEY, "var_name": "X Key"}, r"auth\.var_name 'X Key' is not a valid header name"),
        ({"api_key": KEY, "var_name": "a;b", "location": "cookie"}, "valid cookie name"),
        ({"api_key": f"{KEY}\r\nX: y"}, r"auth\.api_key contains a character"),
        ({"api_key": f"{KEY};b", "location": "cookie"}, "not allowed in a cookie"),
        ({"token": f"{KEY}\n"}, r"auth\.token"),
        ({"schemes": [{"api_key": KEY}, {"username": "x"}]}, r"auth\.schemes\.1\.password"),
        ({"auth_type": "all", "schemes": []}, r"auth\.schemes"),
        ({"auth_type": "any", "options": "api_key"}, r"auth\.options"),
        ({"auth_type": "all", "schemes": ["x"]}, "must be an object"),
    ],
)
def test_an_auth_that_cannot_be_used_names_the_field_and_no_value(auth, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_auth(auth)
    assert KEY not in str(caught.value)


def test_schemes_that_are_nested_too_deeply_are_refused():
    auth = {"token": "abc"}
    for _ in range(5000):
        auth = {"auth_type": "all", "schemes": [auth]}
    with pytest.raises(ConfigError):
        parse_auth(auth)
