"""grpc: reflection of two kinds, mutual TLS, and a server that describes nothing."""

import base64
import shutil
from pathlib import Path

import pytest
from tests.interop.serving import free_port, serving
from tests.interop.software import Debian, Npm, PyPI
from tests.upstreams.certificates import Authority

from utcp_bridge.errors import Rejected, Unreachable

pytestmark = pytest.mark.anyio

SERVERS = Path(__file__).parent / "servers"
GRPCIO = PyPI(
    "grpcio==1.85.1 grpcio-reflection==1.85.1 grpcio-health-checking==1.85.1 grpcio-status==1.85.1 grpcio-tools==1.85.1"
)
GRPC_JS = Npm("@grpc/grpc-js@1.14.7 @grpc/proto-loader @grpc/reflection@1.0.4 grpc-health-check@2.1.0")
ETCD = Debian("etcd-server", program="etcd")
ITEM = {
    "name": "é",
    "amount": "9007199254740993",
    "kind": "KIND_FRUIT",
    "stock": {"a": 1},
    "at": "2026-01-02T03:04:05Z",
    "extra": {"deep": [1, None, {"x": True}]},
    "cents": 5,
    "data": base64.b64encode(b"\x00\xff").decode(),
}


def entry(port: int, **fields):
    return {"name": "g", "call_template_type": "grpc", "host": "127.0.0.1", "port": port, **fields}


async def use_shop(client, *, node: bool = False) -> None:
    names = {tool.name for tool in client.tools()}
    assert {"Shop_Echo", "Shop_List", "Shop_Fail"} <= names
    echoed = await client.call_tool("g.Shop_Echo", ITEM)
    assert {key: echoed[key] for key in ITEM} == ITEM
    listed = [item async for item in client.call_tool_streaming("g.Shop_List", {"to": 3})]
    assert [item.get("amount", "0") for item in listed] == ["0", "1", "2"]
    with pytest.raises(Rejected) as caught:
        await client.call_tool("g.Shop_Fail", {})
    assert (caught.value.status, caught.value.detail["message"]) == ("FAILED_PRECONDITION", "sold out")
    if not node:
        [detail] = caught.value.detail["details"]
        assert detail == {"@type": "google.rpc.ErrorInfo", "reason": "SOLD_OUT", "domain": "shop.example.com"}


@pytest.mark.needs(GRPCIO)
async def test_grpcio_with_its_older_reflection_is_called(opened) -> None:
    port = free_port()
    with serving([GRPCIO.command, SERVERS / "grpc_shop.py", str(port)], port=port):
        async with opened(entry(port)) as client:
            await use_shop(client)


@pytest.mark.needs(GRPCIO)
async def test_mutual_tls_takes_the_right_certificate_and_no_other(opened, tmp_path: Path) -> None:
    port, authority = free_port(), Authority.create(tmp_path)
    authority.server_context()
    files = [str(tmp_path / name) for name in ("ca.pem", "server.pem", "server.key")]
    tls = {"use_ssl": True, "ca_cert": "ca.pem", "server_name": "localhost"}
    known = {**tls, "client_cert": "client.pem", "client_key": "client.key"}
    with serving([GRPCIO.command, SERVERS / "grpc_shop.py", str(port), *files], port=port):
        async with opened(entry(port, **known), {**entry(port, **tls), "name": "anonymous"}) as client:
            await use_shop(client)
            failed = next(state for state in client.report() if state.name == "anonymous")
            assert isinstance(failed.error, Unreachable)


@pytest.mark.needs(GRPC_JS)
async def test_grpc_js_with_its_synthetic_files_is_called(opened) -> None:
    port = free_port()
    with serving([GRPC_JS.command, SERVERS / "grpc_node.cjs", str(port)], port=port, environment=GRPC_JS.environment):
        async with opened(entry(port)) as client:
            await use_shop(client, node=True)


@pytest.mark.needs(ETCD)
async def test_etcd_without_reflection_is_called_by_a_proto_file(opened, tmp_path: Path) -> None:
    port, peers = free_port(), free_port()
    shutil.copy(SERVERS / "etcd.proto", tmp_path)
    base = f"http://127.0.0.1:{port}"
    command = [ETCD.command, "--data-dir", str(tmp_path / "data"), "--listen-client-urls", base]
    command += ["--advertise-client-urls", base, "--listen-peer-urls", f"http://127.0.0.1:{peers}"]
    key, value = (base64.b64encode(text).decode() for text in (b"city", b"Paris"))
    with serving(command, port=port, environment=ETCD.environment):
        async with opened(entry(port), {**entry(port, proto_files=["etcd.proto"]), "name": "kv"}) as client:
            closed = next(state for state in client.report() if state.name == "g")
            assert "proto_files" in str(closed.error)
            assert client.find("kv.KV_Put").description == "Stores a value."
            assert await client.call_tool("kv.KV_Put", {"key": key, "value": value}) == {}
            assert (await client.call_tool("kv.KV_Range", {"key": key}))["kvs"] == [{"key": key, "value": value}]
