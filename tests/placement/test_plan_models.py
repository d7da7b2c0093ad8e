from utcp_bridge.placement.plan_models import RequestPlan

WRITTEN = {
    "parameters": [{"argument": "q", "name": "$q", "in": "query", "style": "form", "explode": True}],
    "body": {"media_type": "multipart/form-data", "members": ["f"], "encoding": {"f": {"binary": True}}},
    "defaults": {"q": 1},
    "headers": {"Accept": "application/json"},
}


def test_a_plan_survives_being_written_and_read_back():
    plan = RequestPlan.model_validate(WRITTEN)
    again = RequestPlan.model_validate(plan.model_dump(by_alias=True, mode="json"))
    assert again == plan
    assert again.parameters[0].location == "query"
