"""streamable_http: JSON lines, a slow body and raw bytes of httpbin, and etcd's watch that never ends."""

import base64
import sys
from pathlib import Path

import anyio
import pytest
from tests.interop.manuals import manual
from tests.interop.serving import free_port, serving
from tests.interop.software import Debian, Installed

pytestmark = pytest.mark.anyio

HTTPBIN = Installed("httpbin")
ETCD = Debian("etcd-server", program="etcd")


@pytest.mark.needs(HTTPBIN)
async def test_httpbin_streams_lines_drops_and_bytes(opened) -> None:
    port = free_port()
    gunicorn = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "httpbin:app"]
    base = f"http://127.0.0.1:{port}"
    tools = {
        "lines": {"url": base + "/stream/{n}"},
        "drip": {"url": base + "/drip", "chunk_size": 1},
        "bytes": {"url": base + "/stream-bytes/{n}", "chunk_size": 100},
    }
    with serving(gunicorn, port=port):
        async with opened(manual("bin", "streamable_http", **tools)) as client:
            lines = await client.call_tool("bin.lines", {"n": 3})
            assert [line["id"] for line in lines] == [0, 1, 2]
            drops = [piece async for piece in client.call_tool_streaming("bin.drip", {"numbytes": 4, "duration": 0.4})]
            assert [drop.data for drop in drops] == [b"*"] * 4
            assert len((await client.call_tool("bin.bytes", {"n": 1000, "seed": 1})).data) == 1000


@pytest.mark.needs(ETCD)
async def test_a_watch_of_etcd_gives_its_events_until_the_caller_has_enough(opened, tmp_path: Path) -> None:
    port, peers = free_port(), free_port()
    base = f"http://127.0.0.1:{port}"
    command = [ETCD.command, "--data-dir", str(tmp_path / "data"), "--listen-client-urls", base]
    command += ["--advertise-client-urls", base, "--listen-peer-urls", f"http://127.0.0.1:{peers}"]
    request = {"create_request": {"key": "{{key}}"}}
    watch = {"url": f"{base}/v3/watch", "http_method": "POST", "body_template": request}
    put = {"url": f"{base}/v3/kv/put", "http_method": "POST", "body_field": "*"}
    key = base64.b64encode(b"city").decode()
    with serving(command, port=port, environment=ETCD.environment):
        streams, writes = manual("etcd", "streamable_http", watch=watch), manual("store", "http", put=put)
        async with opened(streams, writes) as client:
            seen = []
            with anyio.fail_after(60):
                async for message in client.call_tool_streaming("etcd.watch", {"key": key}):
                    seen.append(message["result"])
                    if len(seen) == 3:
                        break
                    value = base64.b64encode(f"Paris {len(seen)}".encode()).decode()
                    await client.call_tool("store.put", {"key": key, "value": value})
    assert seen[0]["created"] is True
    values = [base64.b64decode(event["kv"]["value"]).decode() for message in seen[1:] for event in message["events"]]
    assert values == ["Paris 1", "Paris 2"]
