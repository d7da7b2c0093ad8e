from utcp_bridge.dialects.openapi.options import Conversion, ConversionOptions


def test_options_leave_everything_as_the_document_says_and_hide_their_auth():
    options = ConversionOptions(auth={"auth_type": "api_key", "api_key": "hush"})
    assert (options.base_url, options.include, options.overrides) == (None, None, {})
    assert "hush" not in repr(options)


def test_an_empty_conversion_has_nothing():
    assert Conversion() == Conversion([], [], [], {}, {})
