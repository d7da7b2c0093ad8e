from utcp_bridge.convert.outcome import UTCP_VERSION, Converted, new_manual


def test_new_manual_contains_only_the_given_info():
    assert new_manual([], {}) == {"utcp_version": UTCP_VERSION, "manual_version": "1.0.0", "tools": []}
    about = new_manual([], {"title": "T", "version": "3", "openapi": "3.0.0", "description": ""})
    assert about["manual_version"] == "3"
    assert about["info"] == {"title": "T", "version": "3"}


def test_only_objects_count_as_tools():
    assert Converted({"tools": [{"name": "a"}, "b"]}, "m").tools == [{"name": "a"}]
    assert Converted({"manual_call_templates": []}, "c", is_manual=False).tools == []
