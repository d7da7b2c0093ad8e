from utcp_bridge.dialects.openapi.options import Conversion, ConversionOptions


def test_default_options_change_nothing_and_repr_hides_auth():
    options = ConversionOptions(auth={"auth_type": "api_key", "api_key": "hush"})
    assert (options.base_url, options.include, options.overrides) == (None, None, {})
    assert "hush" not in repr(options)


def test_an_empty_conversion_has_empty_members():
    assert Conversion() == Conversion([], [], [], {}, {})
