import pytest

from utcp_bridge.dialects.openapi.servers import literal_path


def server(url, **variables):
    return {"url": url, "variables": {name: {"default": value} for name, value in variables.items()}}


@pytest.fixture
def address(tool):
    """The URL of the one operation under given root servers."""
    return lambda servers, **kwargs: tool({}, servers=servers, **kwargs)["tool_call_template"]["url"]


@pytest.mark.parametrize(
    ("servers", "url"),
    [
        ([{"url": "https://api.example.com/v1/"}], "https://api.example.com/v1/things"),
        ([{"url": "/v2"}], "https://docs.example.com/v2/things"),
        ([{"url": "v2"}], "https://docs.example.com/specs/v2/things"),
        ([{"url": "/"}], "https://docs.example.com/things"),
        ([], "https://docs.example.com/things"),
        ([{"url": ""}], "https://docs.example.com/things"),
        ("odd", "https://docs.example.com/things"),
        ([server("https://{r}.example.com/{v}", r="eu", v=2)], "https://eu.example.com/2/things"),
        (
            [{"url": "https://{r}.example.com", "variables": {"r": {"enum": ["us", "eu"]}}}],
            "https://us.example.com/things",
        ),
        ([{"url": "https://{gone}.example.com"}, {"url": "https://b.example.com"}], "https://b.example.com/things"),
        ([{"url": "http://localhost:80"}, {"url": "https://api.example.com"}], "https://api.example.com/things"),
        ([{"url": "http://a.example.com"}, {"url": "http://b.example.com"}], "http://a.example.com/things"),
        ([{"url": "https://api.example.com/a b/$x"}], "https://api.example.com/a%20b/%24x/things"),
        ([{"url": "http://["}], "https://docs.example.com/things"),
        ([{"url": "wss://api.example.com/x"}], "wss://api.example.com/x/things"),
    ],
)
def test_the_base_address_comes_from_the_documents_servers(address, servers, url):
    assert address(servers) == url


def test_the_nearest_servers_win_and_base_url_replaces_them(tool):
    operation = {"servers": [{"url": "https://op.example.com"}]}
    assert tool(operation)["tool_call_template"]["url"] == "https://op.example.com/things"
    paths = {"/things": {"servers": [{"url": "https://path.example.com"}], "get": {}}}
    assert tool({}, paths=paths)["tool_call_template"]["url"] == "https://path.example.com/things"
    options = {"base_url": "https://mine.example.com/x/"}
    assert tool(operation, options=options)["tool_call_template"]["url"] == "https://mine.example.com/x/things"


def test_a_local_document_keeps_its_order_of_servers(address):
    servers = [{"url": "http://localhost:8080"}, {"url": "https://api.example.com"}]
    assert address(servers, url="/specs/a.json") == "http://localhost:8080/things"
    assert address(servers, url="http://127.0.0.1:9/a.json") == "http://localhost:8080/things"


def test_server_variables_of_the_operator_are_used_and_checked(conversion):
    servers = [{"url": "https://{r}.example.com", "variables": {"r": {"default": "eu", "enum": ["eu", "us"]}}}]
    made = conversion({}, servers=servers, options={"server_variables": {"r": "mars"}})
    assert made.tools[0].template["url"] == "https://mars.example.com/things"
    assert [(fault.severity, fault.where) for fault in made.faults] == [("warning", "#/servers/0")]
    made = conversion({}, servers=servers, options={"server_variables": {"r": "us"}})
    assert made.faults == []
    made = conversion({}, servers=[{"url": "https://{r}.example.com"}])
    assert "server_variables.r" in str(made.faults[0])


def test_a_document_without_an_address_gets_a_fault_that_names_base_url(conversion):
    made = conversion({}, servers=[], url=None)
    assert made.tools[0].template["url"] == "/things"
    assert "base_url" in str(made.faults[0])
    assert conversion({}, servers=[{"url": "/v1"}], url="/specs/a.json").tools[0].template["url"] == "/v1/things"
    for url in ("http://[", None):
        made = conversion({}, servers=[{"url": "https://api.example.com"}], url=url)
        assert made.tools[0].template["url"] == "https://api.example.com/things"


def test_a_2_0_operation_may_have_its_own_schemes(tool):
    made = tool({"schemes": ["http"]}, version="2.0")
    assert made["tool_call_template"]["url"] == "http://api.example.com/things"
    assert tool({}, version="2.0", basePath="/b")["tool_call_template"]["url"] == "https://api.example.com/b/things"


@pytest.mark.parametrize(
    ("path", "literal"),
    [
        ("things", "/things"),
        ("/a b/{x y}/$c", "/a%20b/{x y}/%24c"),
        ("/a?b=c d&{e}#f", "/a?b=c%20d&{e}"),
        ("/50%25/%zz", "/50%25/%zz"),
    ],
)
def test_fixed_text_of_a_path_is_encoded_and_placeholders_are_kept(path, literal):
    assert literal_path(path) == literal


@pytest.mark.parametrize("url", [None, "/specs/openapi.yaml", "openapi.yaml"])
@pytest.mark.parametrize(
    ("version", "parts", "what"),
    [
        ("3.0.3", {"servers": [{"url": "/v1"}]}, "the address of the server has no host: '/v1'"),
        ("3.0.3", {"servers": [{"url": "api.example.com/v1"}]}, "the address of the server has no host"),
        ("3.0.3", {"servers": []}, "the document does not name a server"),
        ("2.0", {"host": "", "basePath": "/v1"}, "the address of the server has no host: '/v1'"),
        ("2.0", {"host": ""}, "the document does not name a server"),
    ],
)
def test_a_document_in_a_file_without_a_host_is_an_error(conversion, url, version, parts, what):
    (fault,) = conversion({}, version=version, url=url, **parts).faults
    assert fault.what.startswith(what)
    assert (fault.severity, "`base_url`" in fault.remedy) == ("error", True)
    chosen = {"base_url": "https://api.example.com"}
    assert not conversion({}, version=version, url=url, options=chosen, **parts).faults
