from utcp_bridge.convert.outcome import Converted
from utcp_bridge.convert.portable import portable


def test_only_keys_of_the_official_models_are_kept():
    tool = {
        "name": "a",
        "title": "A",
        "annotations": {},
        "body_members": [],
        "inputs": {},
        "tool_call_template": {"x": 1},
    }
    manual = {"utcp_version": "1.0.1", "info": {"title": "T"}, "auth": {}, "manual_version": "1", "tools": [tool]}
    assert portable(Converted(manual, "m")).document == {
        "utcp_version": "1.0.1",
        "manual_version": "1",
        "tools": [{"name": "a", "inputs": {}, "tool_call_template": {"x": 1}}],
    }


def test_a_configuration_stays_as_it_is():
    converted = Converted({"manual_call_templates": [], "info": 1}, "c", is_manual=False)
    assert portable(converted) is converted
