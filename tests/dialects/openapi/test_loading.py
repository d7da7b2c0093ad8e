import pytest

from utcp_bridge.dialects.openapi.loading import describe, family_of, is_openapi


@pytest.mark.parametrize(
    ("document", "family"),
    [
        ({"openapi": "3.0.3"}, "3.0"),
        ({"openapi": "3.0"}, "3.0"),
        ({"openapi": 3}, "3.0"),
        ({"openapi": 3.1}, "3.1"),
        ({"openapi": "v3.1.0-rc1"}, "3.1"),
        ({"openapi": "3.2.0"}, "3.1"),
        ({"swagger": "2.0"}, "2.0"),
        ({"swagger": 2.0}, "2.0"),
        ({"swagger": 2}, "2.0"),
        ({"openapi": True}, None),
        ({"openapi": "4.0.0"}, None),
        ({"swagger": "1.2"}, None),
        ({"openapi": "soon"}, None),
        ({"openapi": None, "swagger": "2.0"}, "2.0"),
        ({"tools": []}, None),
        ([], None),
        ("openapi: 3.0.0", None),
    ],
)
def test_a_document_tells_its_family_near_misses_included(document, family):
    assert family_of(document) == family
    assert is_openapi(document) is (family is not None)


def test_a_document_is_described_by_its_info():
    document = {"swagger": 2.0, "info": {"title": "T", "version": 1, "license": {}}}
    assert describe(document) == {"title": "T", "version": "1", "openapi": "2.0"}
    assert describe({"info": None}) == {"openapi": ""}
