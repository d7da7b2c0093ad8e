import asyncio
import json
import os
from pathlib import Path
from typing import Any, Self

import anyio
import pytest
from tests.upstreams.http_service import HttpService
from tests.upstreams.registry_service import Answers, served

from utcp_bridge.configuration.hosts.recognition import _KEYS
from utcp_bridge.configuration.hosts.table import HOSTS
from utcp_bridge.configuration.loading import _HOST_KEYS, as_config, as_entry, load_config
from utcp_bridge.errors import ConfigError
from utcp_bridge.settings import UtcpClientConfig
from utcp_bridge.transports.registry import TransportRegistry

pytestmark = pytest.mark.anyio

PROVIDER = {"name": "weather", "provider_type": "http", "url": "https://api.example.com/utcp"}
ENTRY = {"name": "maps", "call_template_type": "http", "url": "https://api.example.com/maps"}
MANUAL = {"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": []}
OPENAPI = {"openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "paths": {}}


def write(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("document", "kind", "name"),
    [
        ([PROVIDER], "http", "weather"),
        ({"providers": [PROVIDER]}, "http", "weather"),
        ({"manual_call_templates": [ENTRY]}, "http", "maps"),
        (ENTRY, "http", "maps"),
        (MANUAL, "file", "some"),
        (OPENAPI, "file", "some"),
        ("openapi: 3.0.3\ninfo: {title: t, version: '1'}\npaths: {}\n", "file", "some"),
        (
            "manual_call_templates:\n- name: maps\n  call_template_type: http\n  url: https://x.example/\n",
            "http",
            "maps",
        ),
    ],
)
async def test_the_content_of_a_file_decides_how_it_is_read(
    tmp_path: Path, document: Any, kind: str, name: str
) -> None:
    path = write(tmp_path / ("some.yaml" if isinstance(document, str) else "some.json"), document)
    loaded = await load_config([path], environ={})
    [entry] = loaded.config.manual_call_templates
    assert (entry["call_template_type"], entry["name"]) == (kind, name)
    assert loaded.faults == []
    assert loaded.root == tmp_path


async def test_several_sources_become_one_and_the_later_wins(tmp_path: Path) -> None:
    one = write(tmp_path / "a.json", {"manual_call_templates": [ENTRY], "variables": {"A": "1", "B": "1"}})
    two = write(tmp_path / "b.json", {"providers": [PROVIDER], "variables": {"B": "2"}, "bridge": {"port": 9000}})
    config = (await load_config([one, two], environ={})).config
    assert [entry["name"] for entry in config.manual_call_templates] == ["maps", "weather"]
    assert dict(config.variables) == {"A": "1", "B": "2"}
    assert config.bridge.port == 9000


async def test_a_folder_is_its_json_and_yaml_files_in_order(tmp_path: Path) -> None:
    write(tmp_path / "2.json", [PROVIDER])
    write(tmp_path / "1.yml", "name: maps\ncall_template_type: http\nurl: https://x.example/\n")
    write(tmp_path / "readme.txt", "no")
    config = (await load_config([tmp_path], environ={})).config
    assert [entry["name"] for entry in config.manual_call_templates] == ["maps", "weather"]


@pytest.mark.parametrize("place", ["intercom.yaml", "./intercom.yaml", "{folder}/intercom.yaml", "file:intercom.yaml"])
async def test_a_file_that_a_configuration_of_the_folder_names_is_not_a_manual_again(
    tmp_path: Path, place: str
) -> None:
    write(tmp_path / "intercom.yaml", OPENAPI)
    write(tmp_path / "authority.json", "{ not read")
    write(tmp_path / "zoo.json", MANUAL)
    entry = {
        "name": "intercom",
        "call_template_type": "file",
        "file_path": place.format(folder=tmp_path),
        "base_url": "http://127.0.0.1:4511",
        "ca_cert": "authority.json",
    }
    write(tmp_path / "utcp.yaml", {"manual_call_templates": [entry]})
    loaded = await load_config([tmp_path], environ={})
    assert loaded.faults == []
    first, second = loaded.config.manual_call_templates
    assert (first["name"], first["base_url"]) == ("intercom", "http://127.0.0.1:4511")
    assert second["name"] == "zoo"


async def test_the_entries_of_a_folder_come_before_its_bare_manuals(tmp_path: Path) -> None:
    write(tmp_path / "maps.json", MANUAL)
    write(tmp_path / "utcp.json", {"manual_call_templates": [ENTRY]})
    loaded = await load_config([tmp_path], environ={})
    assert loaded.faults == []
    assert [(entry["name"], entry["call_template_type"]) for entry in loaded.config.manual_call_templates] == [
        ("maps", "http"),
        ("maps_2", "file"),
    ]


async def test_settings_in_groups_and_flat_settings_of_several_places_meet(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", {"manual_call_templates": [], "bridge": {"limits": {"queue": 1, "retries": 1}}})
    environ = {"UTCP_BRIDGE_LIMITS__RETRIES": "2"}
    settings = (await load_config([path], environ=environ, overrides={"queue": 3})).config.bridge
    assert (settings.queue, settings.retries) == (3, 2)


async def test_a_setting_with_two_values_in_one_file_is_an_error_with_the_file(tmp_path: Path) -> None:
    bridge = {"queue": 1, "limits": {"queue": 2}}
    path = write(tmp_path / "c.json", {"manual_call_templates": [], "bridge": bridge})
    with pytest.raises(ConfigError, match="'queue' has two values") as caught:
        await load_config([path], environ={})
    assert str(path) in caught.value.message


async def test_a_wrong_value_in_a_grouped_variable_is_an_error_with_the_variable() -> None:
    with pytest.raises(ConfigError, match=r"^UTCP_BRIDGE_LIMITS__QUEUE: Setting queue: "):
        await load_config([], environ={"UTCP_BRIDGE_LIMITS__QUEUE": "many"})


async def test_settings_come_from_the_command_line_then_the_environment_then_the_file(tmp_path: Path) -> None:
    bridge = {"port": 1, "page_size": 1, "retries": 1}
    path = write(tmp_path / "c.json", {"manual_call_templates": [], "bridge": bridge})
    environ = {"UTCP_BRIDGE_PORT": "2", "UTCP_BRIDGE_PAGE_SIZE": "2"}
    settings = (await load_config([path], environ=environ, overrides={"port": 3})).config.bridge
    assert (settings.port, settings.page_size, settings.retries) == (3, 2, 1)


async def test_relative_paths_of_a_file_start_at_its_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    document = {
        "manual_call_templates": [
            {"name": "near", "call_template_type": "file", "file_path": "tools.json"},
            {"name": "var", "call_template_type": "file", "file_path": "${DIR}/tools.json"},
            {"name": "far", "call_template_type": "file", "file_path": "/etc/tools.json"},
        ],
        "load_variables_from": [{"variable_loader_type": "dotenv", "env_file_path": ".env"}],
    }
    config = (await load_config([write(tmp_path / "sub" / "c.json", document)], environ={})).config
    paths = [entry["file_path"] for entry in config.manual_call_templates]
    assert paths == [str(tmp_path / "sub" / "tools.json"), "${DIR}/tools.json", "/etc/tools.json"]
    assert config.load_variables_from[0]["env_file_path"] == str(tmp_path / "sub" / ".env")


async def test_providers_file_path_of_a_v0_config_is_read(tmp_path: Path) -> None:
    write(tmp_path / "providers.json", [PROVIDER])
    config = (await as_config({"providers_file_path": "./providers.json"}, root=tmp_path)).config
    assert [entry["name"] for entry in config.manual_call_templates] == ["weather"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("broken.json", "{", "line 1"),
        ("broken.yaml", "a: [1\nb: 2\n", "line"),
        ("empty.json", "", "empty"),
        ("other.json", '{"hello": 1}', "neither a configuration"),
        ("scalar.yaml", "just text", "neither a configuration"),
    ],
)
async def test_an_unusable_file_is_one_fault_and_the_others_are_read(
    tmp_path: Path, name: str, content: str, words: str
) -> None:
    bad, good = write(tmp_path / name, content), write(tmp_path / "good.json", [PROVIDER])
    loaded = await load_config([bad, good], environ={})
    assert [entry["name"] for entry in loaded.config.manual_call_templates] == ["weather"]
    [fault] = loaded.faults
    assert fault.where == str(bad)
    assert words in str(fault)
    assert "\n" not in str(fault)


@pytest.mark.parametrize("name", ["missing.json", "folder-without-files"])
async def test_a_missing_source_is_an_error_if_it_is_the_only_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder-without-files").mkdir()
    with pytest.raises(ConfigError, match=name):
        await load_config([tmp_path / name], environ={})


async def test_a_device_is_refused_as_a_configuration() -> None:
    with pytest.raises(ConfigError, match="not a regular file"):
        await load_config(["/dev/null"], environ={})


async def test_two_manuals_of_one_name_keep_the_first(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.json", [PROVIDER]), write(tmp_path / "b.json", [PROVIDER])
    loaded = await load_config([one, two], environ={})
    assert len(loaded.config.manual_call_templates) == 1
    assert "already a manual named 'weather'" in loaded.faults[0].what


@pytest.mark.parametrize(("key", "value"), [("prot", 1), ("port", "many"), ("allowed_hosts", 3)])
async def test_an_unknown_setting_is_named(tmp_path: Path, key: str, value: Any) -> None:
    path = write(tmp_path / "c.json", {"manual_call_templates": [], "bridge": {key: value}})
    with pytest.raises(ConfigError, match=key) as caught:
        await load_config([path], environ={})
    assert caught.value.message.startswith(f"{path}, `bridge`: ")


async def test_an_unknown_setting_is_reported_with_its_place_and_the_nearest_one(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", {"manual_call_templates": [], "bridge": {"prot": 1}})
    with pytest.raises(ConfigError) as caught:
        await load_config([path], environ={})
    assert str(caught.value) == f"{path}, `bridge`: 'prot' is not a setting. Did you mean 'server.port'?"
    with pytest.raises(ConfigError, match=r"^UTCP_BRIDGE_PORT: Setting port: "):
        await load_config([], environ={"UTCP_BRIDGE_PORT": "many"})
    with pytest.raises(ConfigError, match=r"^the command line: Setting port: "):
        await load_config([], environ={}, overrides={"port": "many"})


async def test_a_client_key_of_the_wrong_type_is_a_fault_that_names_it(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", {"manual_call_templates": [], "variables": {"A": [1]}, "post_processing": 1})
    loaded = await load_config([path], environ={})
    assert any("post_processing" in str(fault) for fault in loaded.faults)


async def test_an_unknown_environment_setting_is_a_warning_that_names_it() -> None:
    loaded = await load_config([], environ={"UTCP_BRIDGE_PROT": "1", "UTCP_BRIDGE_PORT": "9000"})
    assert [(fault.severity, fault.where) for fault in loaded.faults] == [
        ("warning", "the environment variable UTCP_BRIDGE_PROT")
    ]
    assert loaded.config.bridge.port == 9000


async def test_urls_are_read_as_configuration_or_as_manual() -> None:
    async with HttpService() as service:
        loaded = await load_config([f"{service.base}/utcp", f"{service.base}/utcp.yaml"], environ={})
        entries = loaded.config.manual_call_templates
        assert [entry["call_template_type"] for entry in entries] == ["http", "http"]
        assert len({entry["name"] for entry in entries}) == 2
        bad = [f"{service.base}/page", f"{service.base}/status/503", service.refusing, f"{service.base}/created"]
        for url in bad:
            with pytest.raises(ConfigError, match="http://127"):
                await load_config([url], environ={})


async def test_a_config_can_be_a_path_a_dict_a_list_a_model_or_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", [PROVIDER])
    for config in (str(path), path, [PROVIDER], {"providers": [PROVIDER]}):
        loaded = await as_config(config, root=None)
        assert [entry["name"] for entry in loaded.config.manual_call_templates] == ["weather"]
    assert (await as_config(path, root=Path("/elsewhere"))).root == Path("/elsewhere")
    assert (await as_config(None, root=None)).config.manual_call_templates == ()
    model = UtcpClientConfig(variables={"A": "1"})
    assert (await as_config(model, root=tmp_path)).config is model


def test_one_template_of_either_generation_is_an_entry() -> None:
    fields = TransportRegistry().fields
    assert as_entry(PROVIDER, known_fields=fields).kind == "http"
    with pytest.raises(ConfigError, match="type"):
        as_entry({"name": "x"}, known_fields=fields)


async def test_registries_of_several_files_are_merged_and_keep_their_places(tmp_path: Path) -> None:
    url = "https://registry.example.com"
    one = write(tmp_path / "a.json", {"registries": [url, {"registry": "list.json", "name": "near"}]})
    two = write(
        tmp_path / "b.json", {"registries": [{"registry": url, "name": "near"}, {"registry": "$PLACE", "name": "v"}]}
    )
    loaded = await load_config([one, two], environ={})
    assert [(one["name"], one["registry"]) for one in loaded.config.registries] == [
        ("registry_example_com", url),
        ("near", str(tmp_path / "list.json")),
        ("v", "$PLACE"),
    ]
    assert "already a registry named 'near'" in str(loaded.faults[0])


async def test_a_registry_alone_is_a_source_too(tmp_path: Path) -> None:
    path = write(tmp_path / "market.json", {"manuals": []})
    [registry] = (await load_config([path], environ={})).config.registries
    assert registry == {"registry": str(path), "name": "market"}
    with served(Answers({"/": {"manuals": []}}).app) as base:
        [registry] = (await load_config([base], environ={})).config.registries
    assert registry["registry"] == base


class Together:
    """A server that answers only when `expected` requests have arrived, and that notes their paths."""

    def __init__(self, expected: int) -> None:
        self.paths: list[str] = []
        self._expected = expected
        self._full = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.base = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        self.paths.append(path)
        if len(self.paths) >= self._expected:
            self._full.set()
        await self._full.wait()
        body = json.dumps({"variables": {"LAST": path}} if path.startswith("/config") else MANUAL).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def test_sources_are_read_at_once_each_once_and_count_in_their_order(tmp_path: Path) -> None:
    local = write(tmp_path / "c.json", {"variables": {"LAST": "file", "A": "file"}})
    with anyio.fail_after(60):
        async with Together(expected=6) as server:
            urls = [f"{server.base}/{name}" for name in ("m0", "m1", "m2", "m0", "config1", "config2", "m3", "config1")]
            loaded = await load_config([local, *urls], environ={})
    assert sorted(server.paths) == ["/config1", "/config2", "/m0", "/m1", "/m2", "/m3"]
    entries = [entry["url"].removeprefix(server.base) for entry in loaded.config.manual_call_templates]
    assert entries == ["/m0", "/m1", "/m2", "/m0", "/m3"]
    assert dict(loaded.config.variables) == {"LAST": "/config1", "A": "file"}
    assert set(loaded.documents) == {f"{server.base}/m{number}" for number in range(4)}


async def test_the_first_source_that_cannot_be_read_is_the_error(tmp_path: Path) -> None:
    places = [str(tmp_path / name) for name in ("a.json", "b.json", "c.json")]
    for sources in (places, places[::-1]):
        with pytest.raises(ConfigError, match=sources[0]):
            await load_config(sources, environ={})


# --- variables and files in settings -------------------------------------------------------------

TOKEN = "a-token-of-sufficient-length"


def bridge_of(tmp_path: Path, settings: dict[str, Any], **more: Any) -> Path:
    return write(tmp_path / "utcp.json", {"manual_call_templates": [], "bridge": settings, **more})


@pytest.mark.parametrize("place", ["environment", "dotenv", "variables"])
async def test_a_setting_can_contain_a_variable_of_each_source(tmp_path: Path, place: str) -> None:
    more: dict[str, Any] = {}
    if place == "dotenv":
        write(tmp_path / ".env", f"DOOR={TOKEN}\nPORT=9000\n")
        more["load_variables_from"] = [{"variable_loader_type": "dotenv", "env_file_path": ".env"}]
    elif place == "variables":
        more["variables"] = {"DOOR": TOKEN, "PORT": 9000}
    config = bridge_of(tmp_path, {"bearer_token": "${DOOR}", "server": {"port": "${PORT}"}}, **more)
    environ = {"DOOR": TOKEN, "PORT": "9000"} if place == "environment" else {}
    settings = (await load_config([config], environ=environ)).config.bridge
    assert settings.bearer_token is not None
    assert (settings.bearer_token.get_secret_value(), settings.port) == (TOKEN, 9000)


async def test_variables_of_the_environment_and_the_command_line_are_filled_in_too() -> None:
    environ = {"UTCP_BRIDGE_BEARER_TOKEN": "${DOOR}", "DOOR": TOKEN, "FOLDER": "/srv"}
    loaded = await load_config([], environ=environ, overrides={"file_roots": ["${FOLDER}/in"]})
    assert loaded.config.bridge.bearer_token is not None
    assert loaded.config.bridge.bearer_token.get_secret_value() == TOKEN
    assert loaded.config.bridge.file_roots == ("/srv/in",)


async def test_an_unset_variable_of_a_setting_is_an_error_with_both_names(tmp_path: Path) -> None:
    config = bridge_of(tmp_path, {"bearer_token": "${NO_SUCH_DOOR}"})
    with pytest.raises(ConfigError, match=r"utcp\.json.*bearer_token.*NO_SUCH_DOOR, which is not set"):
        await load_config([config], environ={})


async def test_a_secret_is_read_from_a_file_next_to_the_configuration(tmp_path: Path) -> None:
    write(tmp_path / "door.txt", f"{TOKEN}\n")
    write(tmp_path / "proxy.txt", "http://user:word@proxy.example:3128\r\n")
    config = bridge_of(tmp_path, {"server": {"bearer_token_file": "door.txt"}, "proxy_file": "proxy.txt"})
    settings = (await load_config([config], environ={})).config.bridge
    assert settings.bearer_token is not None
    assert settings.bearer_token.get_secret_value() == TOKEN
    assert settings.proxy == "http://user:word@proxy.example:3128"


async def test_a_file_in_the_environment_replaces_a_token_of_the_configuration(tmp_path: Path) -> None:
    file = write(tmp_path / "door.txt", TOKEN)
    config = bridge_of(tmp_path, {"bearer_token": "another-token-of-length"})
    for variable in ("UTCP_BRIDGE_BEARER_TOKEN_FILE", "UTCP_BRIDGE_SERVER__BEARER_TOKEN_FILE"):
        settings = (await load_config([config], environ={variable: str(file)})).config.bridge
        assert settings.bearer_token is not None
        assert settings.bearer_token.get_secret_value() == TOKEN


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe\x00", b"x" * 100_000])
async def test_a_file_without_a_usable_secret_is_an_error_that_names_it(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "door.txt").write_bytes(content)
    config = bridge_of(tmp_path, {"bearer_token_file": "door.txt"})
    with pytest.raises(ConfigError, match=r"bearer_token_file: .*door\.txt"):
        await load_config([config], environ={})


async def test_a_pipe_as_the_file_of_a_secret_is_an_error_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is not a file"):
        await load_config([bridge_of(tmp_path, {"bearer_token_file": "pipe"})], environ={})


async def test_a_secret_and_its_file_in_one_place_are_an_error(tmp_path: Path) -> None:
    config = bridge_of(tmp_path, {"bearer_token": TOKEN, "bearer_token_file": "door.txt"})
    with pytest.raises(ConfigError, match="Both 'bearer_token' and 'bearer_token_file' are set"):
        await load_config([config], environ={})


# --- `.env` next to the configuration ------------------------------------------------------------

KEYED = {"manual_call_templates": [{**ENTRY, "headers": {"X-Key": "${KEY}"}}], "bridge": {"bearer_token": "${TOKEN}"}}


def env_file(folder: Path, text: str) -> Path:
    path = write(folder / ".env", text)
    path.chmod(0o600)
    return path


async def test_settings_and_manuals_get_variables_from_the_env_file_next_to_the_configuration(tmp_path: Path) -> None:
    path = write(tmp_path / "utcp.json", KEYED)
    beside = env_file(tmp_path, "KEY=of-the-file\nTOKEN=0123456789abcdef\n")
    loaded = await load_config([path], environ={})
    assert loaded.faults == []
    assert [file.path for file in loaded.env_files] == [beside]
    token = loaded.config.bridge.bearer_token
    assert token is not None
    assert token.get_secret_value() == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(loaded)


@pytest.mark.parametrize("form", ["file", "link", "folder", "several"])
async def test_the_env_file_is_next_to_the_place_that_is_named(tmp_path: Path, form: str) -> None:
    folder, elsewhere = tmp_path / "here", tmp_path / "there"
    folder.mkdir()
    elsewhere.mkdir()
    written = write((elsewhere if form == "link" else folder) / "utcp.json", {"manual_call_templates": [ENTRY]})
    if form == "link":
        (folder / "utcp.json").symlink_to(written)
    beside = env_file(folder, "KEY=1\n")
    other = write(folder / "more.json", [PROVIDER])
    sources = {"folder": [folder], "several": [folder / "utcp.json", other]}.get(form, [folder / "utcp.json"])
    loaded = await load_config(sources, environ={})
    assert [file.path for file in loaded.env_files] == [beside]


async def test_a_fetched_configuration_has_no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env_file(tmp_path, "KEY=1\n")
    async with HttpService() as service:
        assert (await load_config([f"{service.base}/utcp"], environ={})).env_files == ()
    assert (await load_config([], environ={})).env_files == ()
    assert (await as_config({"manual_call_templates": [ENTRY]}, root=tmp_path)).env_files == ()


@pytest.mark.parametrize("where", ["file", "environment", "command line"])
async def test_the_setting_dotenv_switches_the_env_file_off(tmp_path: Path, where: str) -> None:
    bridge = {**KEYED["bridge"], "dotenv": False} if where == "file" else KEYED["bridge"]  # type: ignore[dict-item]
    path = write(tmp_path / "utcp.json", {**KEYED, "bridge": bridge})
    env_file(tmp_path, "TOKEN=0123456789abcdef\nbroken: line\n")
    environ = {"UTCP_BRIDGE_DOTENV": "off"} if where == "environment" else {}
    overrides = {"dotenv": False} if where == "command line" else {}
    with pytest.raises(ConfigError, match="TOKEN, which is not set") as caught:
        await load_config([path], environ=environ, overrides=overrides)
    assert ".env" not in str(caught.value)
    loaded = await load_config([path], environ={**environ, "TOKEN": "0123456789abcdef"}, overrides=overrides)
    assert (loaded.env_files, loaded.faults) == ((), [])


async def test_a_missing_variable_of_a_setting_names_the_line_to_add_and_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "utcp.json", KEYED)
    with pytest.raises(ConfigError) as caught:
        await load_config([path], environ={})
    assert f"Add the line `TOKEN=…` to {tmp_path / '.env'}" in str(caught.value)


def test_each_key_of_a_hosts_file_leads_to_the_reader_of_these_files():
    assert {key[0] for key in (*_KEYS, *(host.key for host in HOSTS.values()))} == _HOST_KEYS
