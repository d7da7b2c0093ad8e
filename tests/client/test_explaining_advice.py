"""Errors of calls name the tool whose template is wrong, and the credentials that were refused."""

import pytest
from tests.support.steps import make_tool

from utcp_bridge.client.explaining import add_advice
from utcp_bridge.errors import ConfigError, Rejected


@pytest.mark.parametrize("status", [401, 4401, "UNAUTHENTICATED"])
def test_refused_credentials_are_named_with_their_variables(status):
    auth = {"auth_type": "api_key", "api_key": "Bearer ${SHOP_TOKEN}", "var_name": "Authorization"}
    error = Rejected("x", status=status)
    add_advice(error, make_tool(template={"auth": auth, "url": "${OTHER}"}), has_credentials=True)
    assert error.remedy == "The service refused the credentials of the manual 'shop'. Renew the value of SHOP_TOKEN."


def test_a_refusal_without_credentials_says_where_they_belong():
    error = Rejected("x", status=401)
    add_advice(error, make_tool(), has_credentials=False)
    assert error.remedy == "Check the headers and `auth` of the manual 'shop'."


@pytest.mark.parametrize(
    "error", [Rejected("x", status=500), Rejected("x", status=401, remedy="Log in."), ConfigError("search x")]
)
def test_other_errors_stay_as_they_are(error):
    before = str(error)
    add_advice(error, make_tool(), has_credentials=True)
    assert str(error) == before


def test_an_error_of_the_template_names_its_tool_once():
    error = ConfigError("too deep")
    for _ in range(2):
        add_advice(error, make_tool(), has_credentials=False)
    assert str(error) == "shop.search: too deep"
