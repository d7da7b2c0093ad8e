from utcp_bridge.search.lexical import TagStrategy
from utcp_bridge.search.strategy import Hit, ToolSearchStrategy, tool_filter


def test_tags_are_compared_in_any_letter_case(mail_tools):
    assert [*map(tool_filter({"Messaging"}, None), mail_tools)] == [True, True, False, False, False]


def test_an_object_without_the_methods_is_not_a_strategy():
    assert isinstance(TagStrategy(), ToolSearchStrategy)
    assert not isinstance(object(), ToolSearchStrategy)


def test_hits_of_one_tool_and_score_are_equal(mail_tools):
    assert Hit(mail_tools[0], 1.0) == Hit(mail_tools[0], 1.0) != Hit(mail_tools[0], 0.5)
