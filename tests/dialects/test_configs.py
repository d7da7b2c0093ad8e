"""Client configurations of every dialect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utcp_bridge.dialects import read_config
from utcp_bridge.dialects.configs import PASSED_ON, read_registries
from utcp_bridge.dialects.readings import Notes
from utcp_bridge.settings import ManualOptions

FIELDS = {"http": frozenset({"url", "http_method"}), "file": frozenset({"file_path"}), "own": frozenset({"place"})}
HTTP = {"call_template_type": "http", "url": "https://h/utcp"}


def read(document):
    return read_config(document, where="utcp.json", known_fields=FIELDS.get)


def names(reading):
    return [entry.name for entry in reading.entries]


@pytest.mark.parametrize(
    "document",
    [
        {"manual_call_templates": [{"name": "a", **HTTP}]},
        {"manual_call_templates": {"a": HTTP}},
        {"manual_call_templates": {"name": "a", **HTTP}},
        {"manual_call_templates": {"a": "https://h/utcp"}},
        {"providers": [{"name": "a", "provider_type": "http", "url": "https://h/utcp"}]},
        {"providers": {"name": "a", "provider_type": "http", "url": "https://h/utcp"}},
        {"providers": {"a": {"type": "http", "url": "https://h/utcp"}}},
        [{"name": "a", "provider_type": "http", "url": "https://h/utcp"}],
        {"name": "a", "provider_type": "http", "url": "https://h/utcp"},
    ],
)
def test_every_shape_of_a_configuration_gives_the_same_entry(document):
    reading = read(document)

    assert reading.faults == []
    assert [entry.template for entry in reading.entries] == [{"name": "a", **HTTP}]


def test_one_configuration_may_mix_both_dialects():
    reading = read({"manual_call_templates": [{"name": "a", **HTTP}], "providers": "./b.json"})

    assert names(reading) == ["a", "b"]
    assert reading.dialect == "v1.x"


@pytest.mark.parametrize(
    ("document", "dialect"),
    [
        ({"manual_call_templates": []}, "v1.x"),
        ({"providers_file_path": "p.json"}, "v0.x"),
        ([{"name": "a", "provider_type": "http", "url": "u"}], "v0.x"),
        ([{"name": "a", **HTTP, "auth": {"auth_type": "token", "token_var": "T"}}], "extended"),
    ],
)
def test_the_dialect_is_named(document, dialect):
    assert read(document).dialect == dialect


def test_an_mcp_hosts_file_is_one_entry_that_keeps_its_servers():
    servers = {"github": {"command": "npx"}, "files": {"url": "https://h/mcp"}}
    reading = read({"mcpServers": servers})

    assert reading.faults == []
    assert [entry.template for entry in reading.entries] == [
        {"call_template_type": "mcp", "config": {"mcpServers": servers}, "name": "mcp"}
    ]


def test_an_entry_may_be_an_mcp_hosts_file_with_a_name():
    reading = read([{"name": "Tools", "mcpServers": {"s": {}}, "retries": 1}])

    assert [entry.template for entry in reading.entries] == [
        {"call_template_type": "mcp", "config": {"mcpServers": {"s": {}}}, "name": "Tools", "retries": 1}
    ]


def test_one_line_forms_are_entries():
    reading = read(["./weather.json", "https://api.example.com/utcp", "mcp+stdio:python -m notes"])

    assert names(reading) == ["weather", "api_example_com", "notes"]
    assert [entry.kind for entry in reading.entries] == ["file", "http", "mcp"]


def test_unnamed_entries_are_numbered_and_never_take_a_name_that_was_written():
    reading = read(["./a.json", "./x/a.json", {"name": "a", **HTTP}, {"name": "", **HTTP}])

    assert names(reading) == ["a_2", "a_3", "a", "h"]


def test_names_of_entries_are_those_that_utcp_registers():
    assert names(read([{"name": "my api.v2", **HTTP}])) == ["my_api_v2"]


@given(st.permutations(["a.b", "a_b", "a b", "other"]))
def test_names_that_look_alike_are_names_of_their_own_in_any_order(order):
    reading = read([{**HTTP, "name": name, "url": f"https://h.example/{name}"} for name in order])
    found = {entry.template["url"].rpartition("/")[2]: entry.name for entry in reading.entries}
    assert found == {"a_b": "a_b", "a.b": "a_b_2e7336dc", "a b": "a_b_c8687a08", "other": "other"}
    assert len(reading.faults) == 2
    assert all("looks like that of another entry" in fault.what for fault in reading.faults)
    assert {fault.severity for fault in reading.faults} == {"warning"}


def test_each_bad_entry_is_one_fault_and_the_rest_is_kept():
    reading = read(
        [
            {"name": "good", **HTTP},
            {"name": "untyped", "url": "u"},
            {"name": "good", **HTTP},
            {"name": "a.b", **HTTP},
            {"name": "a.b", **HTTP},
            {"name": 5, **HTTP},
            {"name": "odd", "call_template_type": "htpp"},
            {"name": "strange", "call_template_type": ["http"]},
            {"mcpServers": "none"},
            "ftp://h/x",
            7,
            {"name": "last", "call_template_type": "own", "place": 1},
        ]
    )

    assert names(reading) == ["good", "a_b", "last"]
    assert [str(fault) for fault in reading.faults] == [
        (
            "utcp.json: entry 2 (untyped): the call template has no `call_template_type`. "
            'Did you mean "call_template_type": "http"?'
        ),
        "utcp.json: entry 3: another entry is also named 'good'. Give each its own name.",
        "utcp.json: entry 5: another entry is also named 'a_b'. Give each its own name.",
        "utcp.json: entry 6: the name is a number, not text.",
        "utcp.json: entry 7 (odd): 'htpp' is not a call template type. Did you mean 'http'?",
        (
            "utcp.json: entry 8 (strange): the call template has no `call_template_type`. "
            'Add one, such as "call_template_type": "http".'
        ),
        "utcp.json: entry 9: `mcpServers` is not an object.",
        "utcp.json: entry 10: the scheme of the one-line form is unknown. Write a path, a URL or `mcp+stdio:command`.",
        "utcp.json: entry 11: the call template is a number, not an object.",
    ]


def test_a_bad_one_line_form_with_a_name_is_a_fault():
    reading = read({"providers": {"a": "ftp://h/x", "b": 5}})

    assert "the scheme of the one-line form is unknown" in str(reading.faults[0])
    assert "the call template is a number" in str(reading.faults[1])


def test_an_official_type_that_is_not_installed_is_kept():
    assert names(read([{"name": "a", "call_template_type": "grpc", "host": "h", "port": 1}])) == ["a"]


def test_without_known_fields_types_and_keys_are_not_checked():
    reading = read_config([{"name": "a", "call_template_type": "custom", "x": 1}], where="utcp.json")

    assert reading.faults == []
    assert [entry.template for entry in reading.entries] == [{"name": "a", "call_template_type": "custom", "x": 1}]


def test_keys_of_the_operator_are_kept_and_unknown_keys_warned_of():
    reading = read([{"name": "a", **HTTP, "trusted": True, "allowed_origins": ["https://x"], "http_metod": "GET"}])

    assert reading.entries[0].template["allowed_origins"] == ["https://x"]
    assert reading.entries[0].template["trusted"] is True
    assert [str(fault) for fault in reading.faults] == [
        "utcp.json: entry 1 (a): nothing reads the key 'http_metod'. Did you mean 'http_method'?"
    ]


def test_client_keys_and_the_bridge_section_are_kept():
    reading = read(
        {
            "variables": {"A": "1"},
            "load_variables_from": [{"type": "dotenv", "env_file_path": ".env"}, {"variable_loader_type": "vault"}],
            "tool_repository": {"tool_repository_type": "in_memory"},
            "tool_search_strategy": None,
            "post_processing": [],
            "providers_file_path": "./providers.json",
            "bridge": {"naming": "short"},
            "$schema": "ignored",
        }
    )

    assert reading.faults == []
    assert reading.bridge == {"naming": "short"}
    assert reading.client == {
        "variables": {"A": "1"},
        "load_variables_from": [
            {"variable_loader_type": "dotenv", "env_file_path": ".env"},
            {"variable_loader_type": "vault"},
        ],
        "tool_repository": {"tool_repository_type": "in_memory"},
        "post_processing": [],
        "providers_file_path": "./providers.json",
    }
    assert "'1'" not in repr(reading)


def test_client_keys_of_the_wrong_type_are_faults_that_show_no_value():
    reading = read(
        {
            "variables": "s3cret",
            "load_variables_from": [{}, "x"],
            "providers_file_path": 5,
            "post_processing": {},
            "manual_call_templates": 3,
            "bridge": [],
        }
    )

    assert reading.client == {"load_variables_from": []}
    assert [str(fault) for fault in reading.faults] == [
        "utcp.json: `manual_call_templates` is a number, not a list.",
        "utcp.json: `variables` is text, not an object.",
        "utcp.json: `post_processing` is an object, not a list.",
        "utcp.json: `providers_file_path` is a number, not text.",
        "utcp.json: item 1 of `load_variables_from` has no `variable_loader_type`.",
        "utcp.json: item 2 of `load_variables_from` has no `variable_loader_type`.",
        "utcp.json: `bridge` is not an object.",
    ]


def test_an_unknown_key_is_warned_of_with_the_nearest_known_key():
    reading = read({"manual_call_template": [], "bridge": {}})

    assert [(fault.severity, str(fault)) for fault in reading.faults] == [
        ("warning", "utcp.json: nothing reads the key 'manual_call_template'. Did you mean 'manual_call_templates'?")
    ]


@pytest.mark.parametrize(
    "document",
    [
        {"tools": []},
        {"openapi": "3.1.0"},
        [{"name": "a", "inputs": {}}],
        {"tools": [{"name": "a", "inputSchema": {}}]},
    ],
)
def test_a_manual_is_refused_as_a_configuration_with_the_remedy_to_list_it(document):
    reading = read(document)

    assert reading.entries == []
    assert "List its path or URL in `manual_call_templates`" in str(reading.faults[0])


@pytest.mark.parametrize("document", ["text", None, 5, {"manuals": []}])
def test_any_other_document_is_one_fault(document):
    reading = read(document)

    assert (reading.entries, reading.client, reading.bridge) == ([], {}, {})
    assert len(reading.faults) == 1


URL = "https://registry.example.com/api"


def read_all(*items):
    notes = Notes()
    return list(read_registries(list(items), "c", notes)), [f"{fault.severity} {fault}" for fault in notes.faults]


def test_a_registry_is_an_address_or_an_object():
    registries, faults = read_all(
        URL, {"registry": "./list.json", "tags": ["a"], "q": "x", "limit": 3, "sha256": {"m": "0"}}
    )
    assert registries == [
        {"registry": URL, "name": "registry_example_com"},
        {"registry": "./list.json", "name": "list", "tags": ["a"], "q": "x", "limit": 3, "sha256": {"m": "0"}},
    ]
    assert faults == []


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (3, "a number, not an object or a URL"),
        ({}, "has no `registry`"),
        ("  ", "has no `registry`"),
        ({"registry": URL, "name": 3}, "the name is a number"),
        ({"registry": URL, "tags": "x"}, "`tags`"),
        ({"registry": URL, "tags": [1]}, "`tags`"),
        ({"registry": URL, "q": []}, "`q` is a list"),
        ({"registry": URL, "limit": 0}, "`limit`"),
        ({"registry": URL, "limit": True}, "`limit`"),
        ({"registry": URL, "sha256": "abc"}, "`sha256`"),
        ({"registry": URL, "sha256": {"a": 1}}, "`sha256`"),
        ({"registry": URL, "name": "good"}, "also named 'good'"),
    ],
)
def test_an_unusable_registry_does_not_affect_others(item, words):
    registries, [fault] = read_all({"registry": URL, "name": "good"}, item, {"registry": URL, "name": "late"})
    assert [registry["name"] for registry in registries] == ["good", "late"]
    assert fault.startswith("error c: registry 2:")
    assert words in fault


def test_keys_that_a_registry_must_not_have_are_dropped_with_a_warning():
    [registry], faults = read_all({"registry": URL, "trusted": True, "auth_tools": {}, "tag": ["x"], "x-note": 1})
    assert registry.keys() == {"registry", "name"}
    assert len(faults) == 3
    assert any("`trusted` is ignored" in fault for fault in faults)
    assert any("Did you mean 'tags'?" in fault for fault in faults)


def test_keys_passed_on_to_manuals_give_no_credentials_and_no_trust():
    assert set(ManualOptions.model_fields) >= PASSED_ON
    assert not PASSED_ON & {"trusted", "auth_tools", "base_url", "client_cert", "client_key", "server_variables"}


def test_a_configuration_lists_registries_under_that_key():
    reading = read_config({"registries": [URL, {}]}, where="c")
    assert [registry["name"] for registry in reading.client["registries"]] == ["registry_example_com"]
    assert "registry 2" in str(reading.faults[0])
    assert "not a list" in str(read_config({"registries": {}}, where="c").faults[0])
