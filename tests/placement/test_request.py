from utcp_bridge.placement.request import RequestParts


def test_raw_headers_write_names_in_ascii_and_values_in_utf_8():
    parts = RequestParts("GET", "https://api.example.com/", [("X-Name", "Zoë"), ("Cookie", "a=1")])
    assert parts.raw_headers == [(b"X-Name", "Zoë".encode()), (b"Cookie", b"a=1")]


def test_the_repr_shows_neither_headers_nor_body():
    parts = RequestParts("POST", "https://api.example.com/", [("X-Key", "hush")], b"hush")
    assert "hush" not in repr(parts)
