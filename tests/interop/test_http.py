"""http: servers with descriptions of their own, TLS by nginx, and a judge of requests."""

import json
import sys
from pathlib import Path

import httpx2
import pytest
from tests.interop.manuals import manual
from tests.interop.serving import free_port, serving
from tests.interop.software import Debian, Installed, Npm
from tests.upstreams.certificates import Authority

from utcp_bridge.errors import Rejected, Unreachable, UtcpError

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent
HTTPBIN = Installed("httpbin")
FASTAPI = Installed("fastapi")
NGINX = Debian("nginx-light", program="nginx")
PROMETHEUS = Debian("prometheus")
JSON_SERVER = Npm("json-server@0.17.4", program="json-server")


@pytest.mark.needs(HTTPBIN)
async def test_httpbin_is_called_by_its_own_swagger_document(opened) -> None:
    port = free_port()
    gunicorn = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "httpbin:app"]
    base = f"http://127.0.0.1:{port}"
    entry = {"name": "bin", "call_template_type": "http", "url": f"{base}/spec.json", "base_url": base}
    with serving(gunicorn, port=port):
        async with opened(entry) as client:
            assert len(client.tools()) > 60
            assert (await client.call_tool("bin.get_get", {}))["url"] == f"{base}/get"
            with pytest.raises(Rejected, match="418"):
                await client.call_tool("bin.get_status_by_codes", {"codes": "418"})
            assert (await client.call_tool("bin.get_gzip", {}))["gzipped"] is True
            assert (await client.call_tool("bin.post_anything", {}))["method"] == "POST"


@pytest.mark.needs(HTTPBIN)
async def test_httpbin_takes_basic_credentials(opened) -> None:
    port = free_port()
    gunicorn = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "httpbin:app"]
    auth = {"auth_type": "basic", "username": "ada", "password": "${PASSWORD}"}
    login = {"url": f"http://127.0.0.1:{port}/basic-auth/ada/pa%3Ass", "auth": auth}
    with serving(gunicorn, port=port):
        async with opened(manual("bin", "http", login=login), variables={"PASSWORD": "pa:ss"}) as client:
            assert (await client.call_tool("bin.login", {}))["user"] == "ada"
        async with opened(manual("bin", "http", login=dict(login)), variables={"PASSWORD": "wrong"}) as client:
            with pytest.raises(Rejected, match="401"):
                await client.call_tool("bin.login", {})


@pytest.mark.needs(FASTAPI)
async def test_a_fastapi_application_gets_exactly_what_its_document_asks_for(opened) -> None:
    port = free_port()
    key = {"auth_type": "api_key", "api_key": "s3cret", "var_name": "x-api-key"}
    url = f"http://127.0.0.1:{port}/openapi.json"
    entry = {"name": "shop", "call_template_type": "http", "url": url, "auth_tools": key}
    with serving([sys.executable, HERE / "servers" / "fastapi_sse.py", str(port)], port=port):
        async with opened(entry) as client:
            arguments = {"shop": 7, "item": "tea", "count": 2, "urgent": True, "x-trace": "t1", "labels": ["a", "b c"]}
            assert await client.call_tool("shop.create_order", arguments) == {
                "shop": 7,
                "order": {"item": "tea", "count": 2},
                "urgent": True,
                "trace": "t1",
                "labels": ["a", "b c"],
            }
            with pytest.raises(UtcpError, match="count"):
                await client.call_tool("shop.create_order", {"shop": 7, "item": "tea", "count": 11})
            assert await client.call_tool("shop.secret", {}) == {"open": True}


@pytest.mark.needs(JSON_SERVER)
async def test_json_server_keeps_what_was_posted(opened, tmp_path: Path) -> None:
    database, port = tmp_path / "db.json", free_port()
    database.write_text(json.dumps({"notes": []}), encoding="utf-8")
    base = f"http://127.0.0.1:{port}/notes"
    add = {"url": base, "http_method": "POST", "body_field": "note"}
    change = {"url": base + "/{id}", "http_method": "PATCH", "body_field": "note"}
    find = {"url": base}
    drop = {"url": base + "/{id}", "http_method": "DELETE"}
    command = [JSON_SERVER.command, "--host", "127.0.0.1", "--port", str(port), database]
    with serving(command, port=port, environment=JSON_SERVER.environment):
        async with opened(manual("notes", "http", add=add, change=change, find=find, drop=drop)) as client:
            added = await client.call_tool("notes.add", {"note": {"text": "tea & cake"}})
            await client.call_tool("notes.change", {"id": added["id"], "note": {"done": True}})
            found = await client.call_tool("notes.find", {"text": "tea & cake"})
            assert found == [{"id": added["id"], "text": "tea & cake", "done": True}]
            await client.call_tool("notes.drop", {"id": added["id"]})
            assert await client.call_tool("notes.find", {}) == []


@pytest.mark.needs(PROMETHEUS)
async def test_prometheus_answers_queries_and_forms_and_tells_what_was_wrong(opened, tmp_path: Path) -> None:
    config, port = tmp_path / "prometheus.yml", free_port()
    config.write_text("scrape_configs: []\n", encoding="utf-8")
    command = [PROMETHEUS.command, f"--web.listen-address=127.0.0.1:{port}", f"--config.file={config}"]
    base = f"http://127.0.0.1:{port}/api/v1/query"
    form = {
        "url": base,
        "http_method": "POST",
        "headers": {"Content-Type": "application/x-www-form-urlencoded"},
        "body_template": {"query": "{{query}}"},
    }
    up = lambda: _answers(f"http://127.0.0.1:{port}/-/ready")  # noqa: E731
    with serving([*command, f"--storage.tsdb.path={tmp_path / 'data'}"], ready=up, environment=PROMETHEUS.environment):
        async with opened(manual("metrics", "http", get={"url": base}, post=form)) as client:
            assert (await client.call_tool("metrics.get", {"query": "1 + 1"}))["data"]["result"][1] == "2"
            assert (await client.call_tool("metrics.post", {"query": "2 > bool 1"}))["data"]["result"][1] == "1"
            with pytest.raises(Rejected) as caught:
                await client.call_tool("metrics.get", {"query": "1 +"})
            assert "parse error" in str(caught.value.detail)


@pytest.mark.needs(NGINX)
@pytest.mark.parametrize(
    ("server", "options", "refusal"),
    [
        ("good", {}, None),
        ("expired", {}, "expired"),
        ("foreign", {}, "Hostname mismatch"),
        ("unknown", {"ca_cert": None}, "certificate"),
        ("mutual", {"client_cert": "client.pem", "client_key": "client.key"}, None),
        ("old", {}, "TLS|protocol"),
    ],
)
async def test_tls_of_nginx_is_judged_by_its_certificate(opened, tmp_path: Path, server, options, refusal) -> None:
    port = free_port()
    authority = Authority.create(tmp_path)
    with serving(_nginx(tmp_path, authority, server, port), port=port, environment=NGINX.environment):
        entry = manual("web", "http", page={"url": f"https://localhost:{port}/"})
        async with opened({**entry, "ca_cert": "ca.pem", **options}) as client:
            if refusal is None:
                assert await client.call_tool("web.page", {}) == "hello from nginx"
            else:
                with pytest.raises(Unreachable, match=refusal):
                    await client.call_tool("web.page", {})


@pytest.mark.needs(NGINX)
async def test_a_server_that_wants_a_client_certificate_rejects_a_call_without(opened, tmp_path: Path) -> None:
    port = free_port()
    authority = Authority.create(tmp_path)
    with serving(_nginx(tmp_path, authority, "mutual", port), port=port, environment=NGINX.environment):
        entry = manual("web", "http", page={"url": f"https://localhost:{port}/"})
        async with opened({**entry, "ca_cert": "ca.pem"}) as client:
            with pytest.raises(Rejected, match="400"):
                await client.call_tool("web.page", {})


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=60, trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def _nginx(folder: Path, authority: Authority, server: str, port: int) -> list[str]:
    """nginx with one TLS server, whose certificate the authority has just made."""
    authority.server_context("other.example" if server == "foreign" else "localhost", expired=server == "expired")
    extra = "ssl_verify_client on; ssl_client_certificate ca.pem;" if server == "mutual" else ""
    protocols = "TLSv1.1" if server == "old" else "TLSv1.2 TLSv1.3"
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
        events {{}}
        http {{
          access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
          uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          server {{
            listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
            ssl_protocols {protocols}; {extra}
            location / {{ default_type text/plain; return 200 "hello from nginx"; }}
          }}
        }}""",
        encoding="utf-8",
    )
    return [NGINX.command, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
