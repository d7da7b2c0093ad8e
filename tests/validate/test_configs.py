import pytest

from utcp_bridge.validate.configs import check_config
from utcp_bridge.validate.findings import Findings

HTTP = {"name": "shop", "call_template_type": "http", "url": "https://api.example.com/utcp"}


def check(document, folder=None, environ=None):
    findings, nested = Findings(), []
    checked = check_config(
        document,
        folder,
        findings,
        check_nested=lambda content, path, name: nested.append((content, path, name)),
        environ=environ or {},
    )
    return checked, [(one.severity, one.pointer, one.what) for one in findings.faults], nested


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({"manual_call_templates": [HTTP]}, ["shop"]),
        ({"manual_call_templates": HTTP}, ["shop"]),
        (
            {"providers": {"a": {"provider_type": "http", "url": "https://x.example"}, "b": "https://y.example/u"}},
            ["a", "b"],
        ),
        ([{"name": "a-b", "provider_type": "http", "url": "https://x.example"}, "./manual.json"], ["a_b", "manual"]),
        (HTTP, ["shop"]),
        ({"providers": "https://x.example/tools.json"}, ["x_example"]),
        ({"mcpServers": {"files": {"command": "x"}}}, ["files"]),
        ({"manual_call_templates": [], "registries": ["https://registry.example.com"]}, []),
        ({"manual_call_templates": [{**HTTP, "call_timeout": 3, "include": {"names": ["a*"]}}]}, ["shop"]),
    ],
)
def test_good_configurations_of_every_shape_are_left_in_peace(document, names):
    checked, told, _ = check(document)
    assert [entry["name"] for entry in checked.entries] == names
    assert told == []


@pytest.mark.parametrize(
    ("document", "pointer", "words"),
    [
        ({"manual_call_templates": 3}, "/manual_call_templates", "a number, not a list"),
        ({"manual_call_templates": [HTTP, HTTP]}, "/manual_call_templates/1/name", "also named 'shop'"),
        ({"providers": {"a": {"url": "x"}}}, "/providers/a", "has no `call_template_type`"),
        ({"providers": [{**HTTP, "name": 3}]}, "/providers/0/name", "a number, not text"),
        ({"manual_call_templates": ["zz+x://y"]}, "/manual_call_templates/0", "scheme"),
        (
            {"manual_call_templates": [{**HTTP, "retries": 99}]},
            "/manual_call_templates/0/retries",
            "less than or equal",
        ),
        ({"mcpServers": []}, "/mcpServers", "not an object"),
        ({"mcpServers": {"files": {"args": []}}}, "/mcpServers/files", "`command` or `url`"),
        ({"manual_call_templates": [], "bridge": 3}, "/bridge", "not an object"),
        ({"manual_call_templates": [], "bridge": {"prot": 1}}, "/bridge/prot", "not a setting"),
        ({"manual_call_templates": [], "bridge": {"port": "x"}}, "/bridge/port", "valid integer"),
        ({"manual_call_templates": [], "variables": []}, "/variables", "a list, not an object"),
        ({"manual_call_templates": [], "variables": {"a": []}}, "/variables", "neither text nor a number"),
        ({"manual_call_templates": [], "load_variables_from": [3]}, "/load_variables_from", "variable_loader_type"),
        ({"manual_call_templates": [], "registries": ["https://a.example", 3]}, "/registries/1", "a number"),
    ],
)
def test_a_fault_stands_at_its_place(document, pointer, words):
    _, told, _ = check(document)
    assert ("error", pointer) in [(severity, place) for severity, place, _ in told]
    assert any(words in what for _, _, what in told)


def test_a_key_that_nothing_reads_is_a_warning():
    _, [(severity, pointer, what)], _ = check({"manual_call_templates": [], "variabels": {}})
    assert (severity, pointer) == ("warning", "/variabels")
    assert "variabels" in what


def test_a_file_that_is_not_there_is_told(tmp_path):
    document = [
        {"name": "a", "call_template_type": "file", "file_path": "gone.json"},
        {"name": "b", "provider_type": "text", "file_path": "here.json"},
    ]
    (tmp_path / "here.json").write_text("{}")
    _, told, _ = check(document, tmp_path)
    assert told == [("error", "/0/file_path", "there is no such file.")]


def test_manuals_within_are_handed_on_with_their_place():
    document = {"manual_call_templates": [{"name": "n", "call_template_type": "text", "content": {"tools": []}}]}
    assert check(document)[2] == [({"tools": []}, ("manual_call_templates", 0, "content"), "n")]


def test_variables_are_told_under_the_key_to_set_and_whether_they_are(tmp_path):
    (tmp_path / ".env").write_text("my__api_FROM_FILE=1\n")
    entry = {"name": "my_api", "call_template_type": "http", "url": "https://${HOST}/${GIVEN}/${FROM_FILE}/${MISSING}"}
    document = {
        "variables": {"my_api": {"GIVEN": "x"}},
        "load_variables_from": [{"variable_loader_type": "dotenv", "env_file_path": ".env"}],
        "manual_call_templates": [entry],
    }
    checked, told, _ = check(document, tmp_path, {"HOST": "x.example"})
    assert told == []
    assert checked.variables == {f"my__api_{name}": ["my_api"] for name in ("HOST", "GIVEN", "FROM_FILE", "MISSING")}
    assert checked.found == {"my__api_HOST", "my__api_GIVEN", "my__api_FROM_FILE"}


def test_a_variable_that_names_another_which_is_missing_is_an_error():
    document = {"variables": {"K": "${GONE}"}, "manual_call_templates": [{**HTTP, "headers": {"X": "${K}"}}]}
    assert ("error", "/variables") in [(severity, pointer) for severity, pointer, _ in check(document)[1]]
