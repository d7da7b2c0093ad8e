import pytest

from utcp_bridge.dialects.openapi.filters import is_wanted

FACTS = {"tags": ["Pets", "v1"], "paths": ["/pets/{id}"], "methods": ["GET"], "operation_ids": ["getPet"]}


@pytest.mark.parametrize(
    ("include", "exclude", "wanted"),
    [
        (None, None, True),
        ({}, {}, True),
        ({"tags": ["pets"]}, None, True),
        ({"tags": ["users"]}, None, False),
        ({"paths": ["/pets/*"], "methods": ["get", "head"]}, None, True),
        ({"paths": ["/pets/*"], "methods": ["post"]}, None, False),
        ({"operation_ids": "get*"}, None, True),
        ({"names": ["get*"]}, None, True),
        ({"names": ["put*"]}, None, False),
        (None, {"tags": ["v1"]}, False),
        (None, {"methods": ["POST"], "paths": ["/users*"]}, True),
        ({"tags": ["pets"]}, {"names": ["getPet"]}, False),
        ({"tags": [5]}, None, False),
    ],
)
def test_an_operation_stays_if_all_includes_and_no_exclude_match(include, exclude, wanted):
    assert is_wanted(FACTS, include, exclude) is wanted
