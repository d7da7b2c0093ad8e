import pytest

from utcp_bridge.dialects.openapi.names import LONGEST_NAME, hints, safe_name, unique_names


@pytest.mark.parametrize(
    ("name", "safe"),
    [("repos/list", "repos_list"), ("a.b c", "a_b_c"), ("_x-", "x"), ("größe", "gr_e"), ("///", "")],
)
def test_a_name_keeps_only_what_every_host_takes(name, safe):
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/users/{id}", "get_users_by_id"),
        ("POST", "/", "post_root"),
        ("GET", "/a.b/{x-y}/$count?z=1", "get_a_b_by_x-y_count"),
        ("DELETE", "/compare/{base}...{head}", "delete_compare_by_base_by_head"),
    ],
)
def test_an_operation_without_an_id_is_named_by_method_and_path(method, path, name):
    assert unique_names([("", method, path)]) == [name]


def test_colliding_names_end_in_a_hash_that_does_not_depend_on_order():
    wanted = [("a.b", "GET", "/1"), ("a/b", "GET", "/2"), ("c", "GET", "/3")]
    names = unique_names(wanted)
    assert len(set(names)) == 3
    assert names[2] == "c"
    assert all(name.startswith("a_b_") for name in names[:2])
    assert unique_names(wanted[::-1]) == names[::-1]


def test_a_long_name_is_cut_to_a_hash():
    one, other = unique_names([("x" * 90 + "1", "GET", "/1"), ("x" * 90 + "2", "GET", "/2")])
    assert one != other
    assert len(one) == len(other) == LONGEST_NAME


def test_a_hashed_name_that_is_taken_is_hashed_again():
    hashed = unique_names([("a.b", "GET", "/1"), ("a/b", "GET", "/2")])
    names = unique_names([(hashed[0], "GET", "/0"), ("a.b", "GET", "/1"), ("a/b", "GET", "/2")])
    assert len(set(names)) == 3


def test_two_identical_operations_still_get_two_names():
    assert len(set(unique_names([("x", "GET", "/a"), ("x", "GET", "/a")]))) == 2


@pytest.mark.parametrize(
    ("operation", "title", "description"),
    [
        ({"summary": "List  pets\n", "description": "All of them."}, "List pets", "List  pets\n\nAll of them."),
        ({"summary": "List pets.", "description": "List pets of a user."}, "List pets.", "List pets of a user."),
        ({}, None, "GET /things"),
        ({"summary": "Old", "deprecated": True}, "Old", "Old (deprecated)"),
        ({"summary": 5, "description": ["x"]}, None, "GET /things"),
    ],
)
def test_title_and_description_come_from_summary_and_description(tool, operation, title, description):
    made = tool(operation)
    assert (made.get("title"), made["description"]) == (title, description)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("GET", {"readOnlyHint": True, "idempotentHint": True}),
        ("QUERY", {"readOnlyHint": True, "idempotentHint": True}),
        ("DELETE", {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True}),
        ("POST", {"readOnlyHint": False}),
        ("PATCH", {"readOnlyHint": False}),
    ],
)
def test_hints_say_what_the_method_promises(method, expected):
    assert hints(method) == {"openWorldHint": True, **expected}
