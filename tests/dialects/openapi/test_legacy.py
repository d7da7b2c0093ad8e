import pytest

from utcp_bridge.dialects.openapi.legacy import legacy_numbers
from utcp_bridge.dialects.openapi.shapes import Located

SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": "k"},
    "basic": {"type": "http", "scheme": "Basic"},
    "digest": {"type": "http", "scheme": "digest"},
    "code": {"type": "oauth2", "flows": {"authorizationCode": {"tokenUrl": "https://x"}}},
    "implicit": {"type": "oauth2", "flows": {"implicit": {}}},
}


def operation(number, method="GET", **node):
    return method, f"/{number}", Located({"operationId": f"op{number}", **node}, "", "#")


def test_numbers_count_the_operations_that_python_utcp_made_auth_for():
    operations = [
        operation(0, security=[{"key": []}]),
        operation(1, security=[]),
        operation(2, security=[{"digest": []}]),
        operation(3, "OPTIONS"),
        operation(4, operationId=""),
        operation(5, security=[{"nowhere": [], "code": []}]),
        operation(6, security=[{"implicit": []}]),
        operation(7, security=[{"nowhere": []}, {"basic": []}]),
        operation(8, security=["odd"]),
    ]
    numbers = legacy_numbers(operations, {"security": [{"basic": []}]}, SCHEMES)
    assert numbers == {("GET", "/0"): 0, ("GET", "/1"): 1, ("GET", "/5"): 2, ("GET", "/7"): 3}


@pytest.mark.parametrize("document", [{}, {"security": []}, {"security": "odd"}])
def test_without_security_there_are_no_numbers(document):
    assert legacy_numbers([operation(0)], document, SCHEMES) == {}
