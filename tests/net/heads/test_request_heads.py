"""Heads of requests that are kept: a trace that differs in each request is written as any other header."""

from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from utcp_bridge.net.heads.request_heads import RequestHeads
from utcp_bridge.placement.request import FixedHeaders

TRACES = ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-1", "0", "x y", "é", ""]
HEADERS = st.lists(
    st.tuples(st.sampled_from(["traceparent", "Traceparent", "x", "Accept"]), st.sampled_from([*TRACES, "a: b"])),
    max_size=4,
)


@given(st.lists(st.tuples(HEADERS, st.sampled_from([None, b"", b"{}"])), max_size=6))
def test_requests_with_a_trace_are_written_as_with_any_other_header(requests):
    """The other header has a name of the same length, and nothing of it is kept apart."""
    heads, target = RequestHeads(), URL("http://127.0.0.1/a?b=c")
    for headers, body in requests:
        plain = [(name.replace("parent", "parenz"), value) for name, value in headers]
        wanted = RequestHeads().written("POST", target, plain, body).replace(b"parenz:", b"parent:")
        assert heads.written("POST", target, headers, body) == wanted


@given(st.lists(st.tuples(HEADERS, st.sampled_from([None, b"", b"{}"])), max_size=6))
def test_a_trace_that_is_added_is_written_as_the_last_header(requests):
    heads, target = RequestHeads(), URL("http://127.0.0.1/a?b=c")
    for headers, body in requests:
        if any(name.lower() == "traceparent" for name, _ in headers):
            continue
        asked = "POST", target.raw_authority, target.raw_path_qs, headers, body, TRACES[0]
        wanted = heads.written("POST", target, [*headers, ("traceparent", TRACES[0])], body)
        assert heads.written_at_once(*asked) == wanted
        assert RequestHeads().written_at_once(*asked) is None


SENT = st.tuples(
    st.integers(0, 1), st.sampled_from(["GET", "POST"]), st.sampled_from(["a", "b:81"]), st.sampled_from([None, b"{}"])
)


@given(st.lists(SENT, max_size=12))
def test_headers_that_requests_share_are_written_for_each_method_host_and_client(requests):
    shared, clients = FixedHeaders([("Accept", "*/*"), ("x", "1")]), [RequestHeads(), RequestHeads()]
    for number, method, host, body in requests:
        target = URL(f"http://{host}/p?q=1")
        wanted = RequestHeads().written(method, target, list(shared), body)
        assert clients[number].written(method, target, shared, body) == wanted
        asked = method, target.raw_authority, target.raw_path_qs, shared, body
        assert [clients[number].written_at_once(*asked) for _ in range(2)] == [wanted, wanted]
        for trace in TRACES:
            traced = RequestHeads().written(method, target, [*shared, ("traceparent", trace)], body)
            assert clients[number].written(method, target, [*shared, ("traceparent", trace)], body) == traced
            assert [clients[number].written_at_once(*asked, trace) for _ in range(2)] == [traced, traced]
