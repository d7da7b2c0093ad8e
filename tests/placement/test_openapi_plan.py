import pytest

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.placement.openapi_plan import compile_plan, read_plan

URL = "https://api.example.com/v1/users"


def build(arguments, *parameters, url=URL, method="get", **plan):
    listed = [{"argument": part["name"], "style": "form", "explode": True, **part} for part in parameters]
    return compile_plan(read_plan({"parameters": listed, **plan}), url, method)(arguments)


def path(name="id", **more):
    return {"name": name, "in": "path", "style": "simple", "explode": False, **more}


def test_each_argument_is_written_to_its_location():
    parts = build(
        {"id": "a b", "tags": ["x", 1], "X-Trace": [1, 2], "sid": "é", "name": "n"},
        path(),
        {"name": "tags", "in": "query"},
        {"name": "X-Trace", "in": "header", "style": "simple", "explode": False},
        {"name": "sid", "in": "cookie"},
        url=URL + "/{id}.json?fixed=%24x",
        method="post",
        body={"media_type": "application/json", "members": ["name"]},
    )
    assert (parts.method, parts.url) == ("POST", URL + "/a%20b.json?fixed=$x&tags=x&tags=1")
    assert parts.headers == [("X-Trace", "1,2"), ("Cookie", "sid=%C3%A9"), ("Content-Type", "application/json")]
    assert parts.body == b'{"name":"n"}'


@pytest.mark.parametrize("given", [{"body": "x"}, {"body": {"a": 1}}, {"body": "x", "a": 1}])
def test_a_parameter_named_like_the_body_is_not_sent_as_the_body_too(given):
    body = {"media_type": "application/json", "members": ["a"]}
    named = build(given, {"name": "body", "in": "query"}, body=body)
    other = build(
        {"q" if name == "body" else name: value for name, value in given.items()},
        {"name": "q", "in": "query"},
        body=body,
    )
    assert named.body == other.body == (b'{"a":1}' if "a" in given else None)
    assert build({"body": {"a": 1}}, body=body).body == b'{"a":1}'


def test_nulls_and_absent_arguments_are_omitted():
    parts = build(
        {"a": None},
        *({"name": name, "in": place} for name, place in [("a", "query"), ("b", "header"), ("c", "cookie")]),
    )
    assert (parts.url, parts.headers, parts.body) == (URL, [], None)


def test_an_encoded_dollar_is_decoded_and_a_fragment_is_dropped():
    assert build({}, url="https://api.example.com/%24meta#part").url == "https://api.example.com/$meta"
    assert build({"id": "1"}, path(), url="https://h/%24a/x%24{id}%24").url == "https://h/$a/x$1$"


@pytest.mark.parametrize(
    ("parameter", "value", "segment"),
    [
        (path(style="label", explode=True), ["a", "b"], ".a.b"),
        (path(style="matrix"), [1, 2], ";id=1,2"),
        (path(allow_reserved=True), "a:b@c/d", "a:b@c%2Fd"),
        (path(content_type="application/json"), {"a": 1}, "%7B%22a%22%3A1%7D"),
    ],
)
def test_path_parameters_follow_their_style(parameter, value, segment):
    assert build({"id": value}, parameter, url=URL + "/{id}").url == f"{URL}/{segment}"


@pytest.mark.parametrize("arguments", [{}, {"id": None}, {"id": ""}, {"id": []}])
def test_the_error_names_a_missing_path_argument(arguments):
    with pytest.raises(InvalidArguments, match="'id'"):
        build(arguments, path(), url=URL + "/{id}")


@pytest.mark.parametrize(
    "arguments", [{"a": "..", "b": ""}, {"a": ".", "b": "."}, {"a": "%2e", "b": "%2e"}, {"a": "x/.", "b": "."}]
)
def test_several_arguments_cannot_form_a_dot_segment(arguments):
    with pytest.raises(InvalidArguments):
        build(arguments, path("a"), path("b"), url=URL + "/{a}{b}")


def test_a_placeholder_without_a_parameter_is_a_plain_path_argument():
    assert build({"x": "a/b"}, url=URL + "/{x}").url == URL + "/a%2Fb"


def test_the_error_of_an_unknown_argument_lists_the_known_arguments():
    with pytest.raises(InvalidArguments, match="'zz'") as caught:
        build({"zz": 1}, {"name": "q", "in": "query"})
    assert caught.value.remedy == "The tool takes: q."
    with pytest.raises(InvalidArguments) as caught:
        build({"zz": 1})
    assert caught.value.remedy == "The tool takes no arguments."


@pytest.mark.parametrize(
    ("parameter", "value", "query"),
    [
        ({"allow_reserved": True}, "/a?b&c", "q=/a?b%26c"),
        ({"content_type": "application/json"}, {"a": "b c"}, "q=%7B%22a%22%3A%22b%20c%22%7D"),
        ({"content_type": "text/plain"}, "a b", "q=a%20b"),
        ({"content_type": "application/x-www-form-urlencoded"}, {"a": "1 2"}, "q=a%3D1%25202"),
        ({"style": "deepObject"}, {"a": 1}, "q%5Ba%5D=1"),
        ({}, [], ""),
    ],
)
def test_query_parameters_follow_their_plan(parameter, value, query):
    parts = build({"q": value}, {"name": "q", "in": "query", **parameter})
    assert parts.url == (f"{URL}?{query}" if query else URL)


def test_one_argument_may_be_the_whole_query():
    whole = {"name": "all", "in": "querystring", "content_type": "application/x-www-form-urlencoded"}
    assert build({"all": {"a": 1, "b": "x y"}}, whole).url == URL + "?a=1&b=x%20y"
    as_json = {**whole, "content_type": "application/json"}
    assert build({"all": {"a": 1}}, as_json).url == URL + "?%7B%22a%22%3A1%7D"


def test_a_header_may_be_json_and_cannot_contain_a_line_break():
    header = {"name": "X-H", "in": "header", "style": "simple", "explode": False}
    assert build({"X-H": {"a": 1}}, {**header, "content_type": "application/json"}).headers == [("X-H", '{"a":1}')]
    with pytest.raises(InvalidArguments, match="'X-H'"):
        build({"X-H": "a\r\nb"}, header)


@pytest.mark.parametrize(
    ("parameter", "value", "cookie"),
    [
        ({"explode": False}, [1, 2], "c=1,2"),
        ({"explode": True}, {"a": 1, "b": 2}, "a=1; b=2"),
        ({"style": "cookie"}, "a b/é", "c=a b/é"),
        ({"content_type": "application/json"}, {"a": 1}, "c=%7B%22a%22%3A1%7D"),
    ],
)
def test_cookies_share_one_header(parameter, value, cookie):
    assert build({"c": value}, {"name": "c", "in": "cookie", **parameter}).headers == [("Cookie", cookie)]


@pytest.mark.parametrize("value", ["a; evil=1", "a\r\nb"])
def test_an_unencoded_cookie_cannot_add_another_cookie(value):
    with pytest.raises(InvalidArguments, match="'c'"):
        build({"c": value}, {"name": "c", "in": "cookie", "style": "cookie"})


def test_arguments_override_defaults_and_fixed_headers():
    accept = {"name": "accept", "in": "header", "style": "simple", "explode": False}
    plan = {"defaults": {"q": 1}, "headers": {"Accept": "application/json"}}
    query = {"name": "q", "in": "query"}
    assert build({}, query, accept, **plan) == build({"q": 1}, query, accept, **plan)
    parts = build({"q": 2, "accept": "text/csv"}, query, accept, **plan)
    assert (parts.url, parts.headers) == (URL + "?q=2", [("accept", "text/csv")])


def test_the_error_of_a_bad_plan_names_the_field():
    with pytest.raises(ConfigError, match=r"parameters\.0\.in"):
        read_plan({"parameters": [{"argument": "a", "name": "a", "in": "nowhere"}]})
