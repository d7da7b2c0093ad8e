"""One-line forms, and names for entries without one."""

import pytest

from utcp_bridge.dialects.shorthand import expand_shorthand, host_file_entry, suggest_name


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("./weather.json", {"call_template_type": "file", "file_path": "./weather.json"}),
        (r"C:\tools\weather.json", {"call_template_type": "file", "file_path": r"C:\tools\weather.json"}),
        ("file:///srv/a.json", {"call_template_type": "file", "file_path": "/srv/a.json"}),
        (" https://h/manual.json ", {"call_template_type": "http", "url": "https://h/manual.json"}),
        ("wss://h/tools", {"call_template_type": "websocket", "url": "wss://h/tools"}),
        (
            "mcp+stdio:python -m 'my server'",
            host_file_entry({"server": {"transport": "stdio", "command": "python", "args": ["-m", "my server"]}}),
        ),
        ("mcp+https://h/mcp", host_file_entry({"server": {"transport": "http", "url": "https://h/mcp"}})),
    ],
)
def test_a_one_line_form_becomes_a_call_template(text, template):
    assert expand_shorthand(text) == template


@pytest.mark.parametrize("text", ["", "  ", "ftp://h/x", "mcp+ssh:host", "mcp+stdio:", "mcp+stdio:'open"])
def test_an_invalid_one_line_form_is_refused_with_the_reason(text):
    with pytest.raises(ValueError, match=r"."):
        expand_shorthand(text)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ({"file_path": "./tools/my-weather.v2.json"}, "my_weather_v2"),
        ({"file_path": "/srv/ada/my proj/petstore.yaml"}, "petstore"),
        ({"file_path": r"C:\Users\John Smith\petstore.yaml"}, "petstore"),
        ({"file_path": "./my petstore.yaml"}, "my_petstore"),
        ({"file_path": "./a b/"}, "a_b"),
        ({"url": "https://api.example.com/utcp"}, "api_example_com"),
        ({"url": "https://api.example.com/my proj/petstore.yaml"}, "petstore"),
        ({"url": "https://api.example.com/my proj/openapi.json"}, "api_example_com"),
        ({"url": "https://api.example.com/weather.json?key=s3cret"}, "weather"),
        ({"url": "https://[broken"}, "_broken"),
        ({"command_name": "/usr/bin/tool --utcp"}, "tool"),
        ({"command_name": "tool utcp"}, "tool"),
        ({"command_name": "/opt/my tools/weather"}, "weather"),
        ({"command_name": "/opt/my tools/weather --utcp --of /etc/x"}, "weather"),
        ({"command_name": "/opt/my tools/weather utcp"}, "weather"),
        ({"command_name": "/usr/bin/python3 /opt/my tools/weather.py"}, "python3"),
        ({"command_name": "'/opt/my tools/weather' utcp"}, "weather"),
        ({"command_name": r"C:\Program Files\Weather\weather.exe --utcp"}, "weather"),
        ({"host": "tcp.example.com"}, "tcp_example"),
        ({"call_template_type": "mcp", "config": {"mcpServers": {"github": {}}}}, "github"),
        ({"call_template_type": "mcp", "config": {"mcpServers": {"a": {}, "b": {}}}}, "mcp"),
        ({"call_template_type": "mcp", "config": {"mcpServers": {"server": "odd"}}}, "server"),
        (expand_shorthand("mcp+stdio:python -m my_server --verbose"), "my_server"),
        (expand_shorthand("mcp+stdio:npx"), "npx"),
        (expand_shorthand("mcp+stdio:'/opt/my tools/weather-mcp'"), "weather_mcp"),
        (expand_shorthand("mcp+stdio:python '/opt/my tools/server.py' --verbose"), "server"),
        (host_file_entry({"server": {"command": "/Applications/My App.app/Contents/weather"}}), "weather"),
        (expand_shorthand("mcp+https://tools.example.com/mcp"), "tools_example_com"),
        ({}, "manual"),
    ],
)
def test_an_entry_is_named_after_its_place(template, name):
    assert suggest_name(template, ()) == name


def test_a_name_that_is_taken_gets_a_number():
    assert suggest_name({"file_path": "a.json"}, ["a", "a_2"]) == "a_3"
