from utcp_bridge.manuals.variables_needed import names_in_template, raw_fields_of, variables_of_tools

HTTP = {"call_template_type": "http", "url": "https://${HOST}/{id}", "headers": {"X": "$KEY ${KEY}"}}


def test_each_variable_of_a_template_is_listed_once_in_order() -> None:
    assert names_in_template(HTTP) == ["HOST", "KEY"]


def test_raw_fields_are_not_searched_for_variables() -> None:
    assert names_in_template({**HTTP, "request_plan": {"headers": {"A": "$NO"}}}) == ["HOST", "KEY"]
    assert raw_fields_of(HTTP) == {"request_plan"}
    graphql = {"call_template_type": "graphql", "url": "https://x.example", "query": "query($id: ID) {a(k: ${K})}"}
    assert names_in_template(graphql) == ["K"]


def test_all_fields_of_an_unknown_type_are_searched_for_variables() -> None:
    assert names_in_template({"call_template_type": "no_such", "x": ["$A"]}) == ["A"]
    assert raw_fields_of({"call_template_type": "no_such"}) == frozenset()


def test_variables_are_listed_by_the_key_to_set_with_the_tools_that_need_them() -> None:
    tools = [
        {"name": "a", "tool_call_template": HTTP},
        {"name": "b", "inputs": {"properties": {"HOST": {}}}, "tool_call_template": HTTP},
        {"name": "c"},
        {"name": "d", "tool_call_template": {"call_template_type": "http", "url": "$_PRIVATE"}},
    ]
    assert variables_of_tools(tools, "my_api") == {
        "my__api_HOST": ["a"],
        "my__api_KEY": ["a", "b"],
        "_PRIVATE": ["d"],
    }
