import pytest

from utcp_bridge.dialects.openapi.security import legacy_numbers
from utcp_bridge.dialects.openapi.shapes import Located

URL = "https://docs.example.com/specs/openapi.json"
SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": "X-Key", "description": "From  the\nconsole."},
    "queryKey": {"type": "apiKey", "in": "query", "name": "api key"},
    "basicAuth": {"type": "http", "scheme": "basic"},
    "bearer_auth": {"type": "http", "scheme": "Bearer"},
    "signed": {"type": "http", "scheme": "HOBA"},
    "machine": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "/token"}}},
    "person": {"type": "oauth2", "flows": {"authorizationCode": {"tokenUrl": "/token"}, "implicit": {}}},
    "oidc": {"type": "openIdConnect", "openIdConnectUrl": "/.well-known"},
    "tls": {"type": "mutualTLS"},
    "alias": {"$ref": "#/components/securitySchemes/key"},
    "odd": {"type": ["apiKey"]},
    "noName": {"type": "apiKey", "in": "header"},
    "badName": {"type": "apiKey", "in": "header", "name": "a b"},
    "badHttp": {"type": "http", "scheme": "a b"},
    "unfinished": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "http://["}}},
}


@pytest.fixture
def auth(tool):
    """The auth of an operation with these requirements."""

    def run(*security, schemes=SCHEMES, **kwargs):
        made = tool({"operationId": "", "security": [*security]}, components={"securitySchemes": schemes}, **kwargs)
        return made["tool_call_template"].get("auth")

    return run


def key(variable, name="Authorization", place="header", prefix="Bearer "):
    return {"auth_type": "api_key", "api_key": f"{prefix}${{{variable}}}", "var_name": name, "location": place}


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("key", key("KEY_API_KEY", "X-Key", prefix="")),
        ("alias", key("ALIAS_API_KEY", "X-Key", prefix="")),
        ("queryKey", key("QUERY_KEY_API_KEY", "api key", "query", "")),
        (
            "basicAuth",
            {"auth_type": "basic", "username": "${BASIC_AUTH_USERNAME}", "password": "${BASIC_AUTH_PASSWORD}"},
        ),
        ("bearer_auth", key("BEARER_AUTH_TOKEN")),
        ("signed", key("SIGNED_TOKEN", prefix="HOBA ")),
        ("person", key("PERSON_TOKEN")),
        ("oidc", key("OIDC_TOKEN")),
        ("#/components/securitySchemes/key", key("COMPONENTS_SECURITY_SCHEMES_KEY_API_KEY", "X-Key", prefix="")),
    ],
)
def test_a_scheme_becomes_auth_with_its_own_variables(auth, scheme, expected):
    assert auth({scheme: []}) == expected


def test_client_credentials_request_the_scopes_or_use_a_token(auth):
    made = auth({"machine": ["read", "write", 5]})
    assert made["options"] == [
        {
            "auth_type": "oauth2",
            "token_url": "https://docs.example.com/token",
            "client_id": "${MACHINE_CLIENT_ID}",
            "client_secret": "${MACHINE_CLIENT_SECRET}",
            "scope": "read write",
        },
        key("MACHINE_TOKEN"),
    ]
    assert "scope" not in auth({"machine": []})["options"][0]
    assert auth({"unfinished": []})["options"][0]["token_url"] == "http://["


@pytest.mark.parametrize(
    "security", [[], [{}], [{"tls": []}], ["odd"], [{"gone": []}], [{"odd": []}], [{"noName": []}]]
)
def test_no_requirement_sends_nothing(auth, security):
    assert auth(*security) is None


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [
        ("gone", "is not declared"),
        ("#/gone", "is not declared"),
        ("odd", "has the unknown type"),
        ("noName", "does not say where a key goes"),
        ("badName", "does not say where a key goes"),
        ("badHttp", "is of a kind that the bridge does not send"),
    ],
)
def test_a_scheme_that_cannot_be_used_is_a_fault(conversion, scheme, reason):
    operation = {"security": [{scheme: []}]}
    made = conversion(operation, components={"securitySchemes": SCHEMES})
    assert any(f"security scheme {scheme!r} {reason}" in fault.what for fault in made.faults)


@pytest.mark.parametrize(
    ("named", "name", "value"),
    [
        ("Authorization: Bearer", "Authorization", "Bearer ${K_API_KEY}"),
        ("X-Key:", "X-Key", "${K_API_KEY}"),
        ("X-Key", "X-Key", "${K_API_KEY}"),
    ],
)
def test_a_key_whose_header_is_named_with_its_first_word_is_sent(conversion, named, name, value):
    schemes = {"k": {"type": "apiKey", "in": "header", "name": named}}
    operation = {"security": [{"k": []}], "parameters": [{"name": name, "in": "header", "type": "string"}]}
    made = conversion(operation, version="2.0", securityDefinitions=schemes)
    (tool,) = made.tools
    auth = tool.template["auth"]
    assert (auth["var_name"], auth["api_key"], auth["location"]) == (name, value, "header")
    assert not tool.inputs["properties"]
    assert not made.faults


def test_alternatives_and_combinations_of_schemes_are_kept(auth):
    made = auth({"key": [], "basicAuth": []}, {"bearer_auth": []}, {"gone": [], "key": []})
    assert [option["auth_type"] for option in made["options"]] == ["all", "api_key"]
    assert [member["auth_type"] for member in made["options"][0]["schemes"]] == ["api_key", "basic"]
    assert "optional" not in made


def test_an_optional_requirement_is_marked(auth):
    assert auth({}, {"key": []}) == {
        "auth_type": "any",
        "options": [key("KEY_API_KEY", "X-Key", prefix="")],
        "optional": True,
    }


def test_a_combination_with_alternatives_inside_is_multiplied_out(auth):
    made = auth({"machine": [], "key": []})
    assert [[member["auth_type"] for member in option["schemes"]] for option in made["options"]] == [
        ["oauth2", "api_key"],
        ["api_key", "api_key"],
    ]


def test_variables_are_named_once_per_scheme_and_never_shared(conversion):
    schemes = {name: {"type": "apiKey", "in": "header", "name": name} for name in ("apiKey", "api_key", "api-key")}
    operation = {"security": [{name: [] for name in schemes}]}
    made = conversion(operation, components={"securitySchemes": {**schemes, "key": SCHEMES["key"]}})
    assert len(made.variables) == len(set(made.variables)) == 3
    assert made.variables[0] == "API_KEY"
    assert made.variable_notes["API_KEY"] == "apiKey scheme 'apiKey'"
    noted = conversion({"security": [{"key": []}]}, components={"securitySchemes": SCHEMES})
    assert noted.variable_notes == {"KEY_API_KEY": "apiKey scheme 'key': From the console."}
    assert conversion({"security": [{"é": []}]}, components={"securitySchemes": {"é": SCHEMES["key"]}}).variables == [
        "AUTH_API_KEY"
    ]


def test_python_utcps_placeholders_are_aliases(conversion):
    operation = {"operationId": "a", "security": [{"basicAuth": []}]}
    other = {"operationId": "b", "security": [{"key": []}]}
    paths = {
        "/a": {"get": operation},
        "/b": {"get": other, "options": other},
        "/c": {"get": {**operation, "operationId": "c"}},
    }
    made = conversion({}, paths=paths, components={"securitySchemes": SCHEMES})
    aliases = [tool.template["auth"].get("aliases") for tool in made.tools]
    assert aliases == [
        ["USERNAME_0", "PASSWORD_0"],
        ["API_KEY_1", "API_KEY_0"],
        None,
        ["USERNAME_2", "PASSWORD_2", "USERNAME_0", "PASSWORD_0"],
    ]


@pytest.mark.parametrize(
    ("chosen", "security", "used"),
    [
        ({"auth_type": "api_key", "var_name": "x-KEY", "api_key": "k"}, [{"key": []}], True),
        ({"auth_type": "api_key", "var_name": "X-Key", "location": "query", "api_key": "k"}, [{"key": []}], False),
        ({"auth_type": "api_key", "api_key": "k"}, [{"key": []}], False),
        ({"auth_type": "basic", "username": "u", "password": "p"}, [{"key": []}, {"basicAuth": []}], True),
        ({"auth_type": "basic", "username": "u", "password": "p"}, [{"key": []}], False),
        ({"auth_type": "basic", "username": "u", "password": "p"}, [], False),
    ],
)
def test_the_operators_auth_is_used_if_it_is_of_the_same_kind(auth, chosen, security, used):
    assert (auth(*security, options={"auth": chosen}) == chosen) is used


def test_the_operators_auth_is_used_if_the_document_has_no_security(tool):
    chosen = {"auth_type": "basic", "username": "u", "password": "p"}
    assert tool({}, options={"auth": chosen})["tool_call_template"]["auth"] == chosen
    assert (
        "auth" not in tool({}, options={"auth": chosen}, components={"securitySchemes": SCHEMES})["tool_call_template"]
    )


def test_a_parameter_that_carries_the_key_is_not_an_argument(properties):
    parameters = [
        {"name": "x-KEY", "in": "header", "schema": {}},
        {"name": "X-Key", "in": "query", "schema": {}},
        {"name": "Authorization", "in": "header", "type": "string"},
    ]
    components = {"securitySchemes": SCHEMES}
    assert list(properties({"parameters": parameters, "security": [{"key": []}]}, components=components)) == ["X-Key"]
    old = {"securityDefinitions": {"b": {"type": "basic"}}}
    kept = properties({"parameters": [parameters[2]], "security": [{"b": []}]}, version="2.0", **old)
    assert kept == {}


LEGACY_SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": "k"},
    "basic": {"type": "http", "scheme": "Basic"},
    "digest": {"type": "http", "scheme": "digest"},
    "code": {"type": "oauth2", "flows": {"authorizationCode": {"tokenUrl": "https://x"}}},
    "implicit": {"type": "oauth2", "flows": {"implicit": {}}},
}


def operation(number, method="GET", **node):
    return method, f"/{number}", Located({"operationId": f"op{number}", **node}, "", "#")


def test_numbers_count_the_operations_that_python_utcp_made_auth_for():
    operations = [
        operation(0, security=[{"key": []}]),
        operation(1, security=[]),
        operation(2, security=[{"digest": []}]),
        operation(3, "OPTIONS"),
        operation(4, operationId=""),
        operation(5, security=[{"nowhere": [], "code": []}]),
        operation(6, security=[{"implicit": []}]),
        operation(7, security=[{"nowhere": []}, {"basic": []}]),
        operation(8, security=["odd"]),
    ]
    numbers = legacy_numbers(operations, {"security": [{"basic": []}]}, LEGACY_SCHEMES)
    assert numbers == {("GET", "/0"): 0, ("GET", "/1"): 1, ("GET", "/5"): 2, ("GET", "/7"): 3}


@pytest.mark.parametrize("document", [{}, {"security": []}, {"security": "odd"}])
def test_operations_without_security_have_no_numbers(document):
    assert legacy_numbers([operation(0)], document, LEGACY_SCHEMES) == {}


MACHINE = {"m": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "oauth/token"}}}}


@pytest.mark.parametrize(
    ("server", "url", "expected"),
    [
        ("https://api.example.com/v1", URL, "https://docs.example.com/specs/oauth/token"),
        ("https://api.example.com/v1", "/specs/openapi.json", "https://api.example.com/v1/oauth/token"),
        ("https://api.example.com/v1", None, "https://api.example.com/v1/oauth/token"),
    ],
)
def test_a_relative_token_url_starts_at_the_documents_url_or_else_at_its_server(auth, server, url, expected):
    made = auth({"m": []}, schemes=MACHINE, servers=[{"url": server}], url=url)
    assert made["options"][0]["token_url"] == expected


def test_a_token_url_without_a_host_is_a_fault_and_costs_the_flow_only(auth, tool):
    made = auth({"m": []}, schemes=MACHINE, servers=[{"url": "/v1"}], url=None)
    assert made == key("M_TOKEN")


def test_a_scheme_that_answers_challenges_is_a_fault_and_sends_no_token(conversion):
    components = {"securitySchemes": {"d": {"type": "http", "scheme": "Digest"}}}
    made = conversion({"security": [{"d": []}]}, components=components)
    assert "auth" not in made.tools[0].template
    assert [fault.what for fault in made.faults] == [
        "security scheme 'd' is of a kind that the bridge does not send: 'Digest'"
    ]
