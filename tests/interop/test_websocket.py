"""websocket: servers on four libraries; JSON-RPC whose notifications come between request and reply."""

from pathlib import Path

import anyio
import pytest
from tests.interop.manuals import manual
from tests.interop.serving import free_port, serving
from tests.interop.software import Debian, Npm, PyPI

from utcp_bridge.errors import ConnectionLost, Rejected

pytestmark = pytest.mark.anyio

SERVERS = Path(__file__).parent / "servers"
WEBSOCKETS = PyPI("websockets==17.4")
WS = Npm("ws@8.23.0")
JAYSON = Npm("jayson@5.0.0")
GANACHE = Npm("ganache@7.9.2", program="ganache")
NATS = Debian("nats-server")
RPC = {"jsonrpc": "2.0", "id": "{{uuid}}"}


@pytest.mark.needs(WEBSOCKETS)
async def test_a_server_on_websockets_gives_its_manual_and_answers(opened) -> None:
    port = free_port()
    entry = {"name": "ws", "call_template_type": "websocket", "url": f"ws://127.0.0.1:{port}", "protocol": "utcp"}
    with serving([WEBSOCKETS.command, SERVERS / "websockets_server.py", str(port)], port=port):
        async with opened(entry) as client:
            assert await client.call_tool("ws.echo", {"x": "é"}) == {"x": "é", "protocol": "utcp"}
            assert (await client.call_tool("ws.echo", {"binary": True})).data == b"\x00\x01"
            assert [n["n"] async for n in client.call_tool_streaming("ws.count", {"to": 3})] == [0, 1, 2]
            with pytest.raises(ConnectionLost, match="4000 as asked"):
                await client.call_tool("ws.close", {})
            replies: dict[int, int] = {}

            async def ask(number: int) -> None:
                replies[number] = (await client.call_tool("ws.echo", {"n": number}))["n"]

            async with anyio.create_task_group() as group:
                for number in range(30):
                    group.start_soon(ask, number)
            assert replies == {number: number for number in range(30)}


@pytest.mark.needs(WS)
async def test_a_server_on_ws_deflates_fragments_and_checks_a_token(opened) -> None:
    port = free_port()
    say = {"url": f"ws://127.0.0.1:{port}", "message": "UTCP_ARG_text_UTCP_ARG", "compression": True}
    tools = {"say": {**say, "headers": {"X-Token": "t0ken"}}, "forbidden": say}
    with serving([WS.command, SERVERS / "ws_server.cjs", str(port)], port=port, environment=WS.environment):
        async with opened(manual("ws", "websocket", **tools)) as client:
            assert await client.call_tool("ws.say", {"text": "hi"}) == {"deflated": True, "said": "hi"}
            with pytest.raises(Rejected) as caught:
                await client.call_tool("ws.forbidden", {"text": "hi"})
            assert caught.value.status == 401


@pytest.mark.needs(JAYSON)
async def test_jayson_answers_one_table_over_websocket_tcp_and_http(opened) -> None:
    http, tcp, ws = free_port(), free_port(), free_port()
    call = {**RPC, "method": "add", "params": ["{{a}}", "{{b}}"]}
    line = '{"jsonrpc":"2.0","id":1,"method":"add","params":[UTCP_ARG_a_UTCP_ARG,UTCP_ARG_b_UTCP_ARG]}'
    framed = {"request_data_format": "text", "request_data_template": line, "framing_strategy": "delimiter"}
    manuals = [
        manual("ws", "websocket", add={"url": f"ws://127.0.0.1:{ws}", "message": call}),
        manual("tcp", "tcp", add={"host": "127.0.0.1", "port": tcp, "message_delimiter": "\\n", **framed}),
        manual("web", "http", add={"url": f"http://127.0.0.1:{http}", "http_method": "POST", "body_template": call}),
    ]
    command = [JAYSON.command, SERVERS / "jayson_server.cjs", str(http), str(tcp), str(ws)]
    with serving(command, port=ws, environment=JAYSON.environment):
        async with opened(*manuals) as client:
            for name in ("ws", "tcp", "web"):
                assert (await client.call_tool(f"{name}.add", {"a": 2, "b": 3}))["result"] == 5


@pytest.mark.timeout(90)
@pytest.mark.needs(GANACHE)
async def test_an_ethereum_node_pushes_blocks_between_requests_and_replies(opened) -> None:
    port = free_port()
    url = f"ws://127.0.0.1:{port}"
    ask = {"url": url, "message": {**RPC, "method": "{{method}}", "params": "{{params|default:[]}}"}}
    subscribe = {**RPC, "method": "eth_subscribe", "params": ["newHeads"]}
    heads = {"url": url, "message": subscribe, "expected_responses": 3}
    command = [GANACHE.command, "--server.host", "127.0.0.1", "--server.port", str(port), "--wallet.seed", "tests"]
    with serving(command, port=port, environment=GANACHE.environment, seconds=60):
        async with opened(manual("chain", "websocket", ask=ask, heads=heads)) as client:
            assert (await client.call_tool("chain.ask", {"method": "eth_blockNumber"}))["result"] == "0x0"
            subscribed = await client.call_tool("chain.ask", {"method": "eth_subscribe", "params": ["newHeads"]})
            assert subscribed["result"].startswith("0x")
            for number in (1, 2, 3):  # each block is pushed on the very connection that mines it
                mined = await client.call_tool("chain.ask", {"method": "evm_mine"})
                assert mined["result"] == "0x0"
                assert (await client.call_tool("chain.ask", {"method": "eth_blockNumber"}))["result"] == hex(number)
            seen: list[object] = []
            async with anyio.create_task_group() as group:

                async def watch() -> None:
                    async for message in client.call_tool_streaming("chain.heads", {}):
                        seen.append(message)
                        if len(seen) <= 2:
                            await client.call_tool("chain.ask", {"method": "evm_mine"})

                group.start_soon(watch)
    assert [message.get("method") for message in seen] == [None, "eth_subscription", "eth_subscription"]


@pytest.mark.needs(NATS)
async def test_a_server_that_speaks_first_is_heard_out(opened, tmp_path: Path) -> None:
    port, web = free_port(), free_port()
    config = tmp_path / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\nwebsocket {{ listen: "127.0.0.1:{web}", no_tls: true }}\n', encoding="utf-8"
    )
    ping = {"url": f"ws://127.0.0.1:{web}", "message": "PING\r\n", "read_greeting": True}
    with serving([NATS.command, "-c", str(config)], port=web, environment=NATS.environment):
        async with opened(manual("nats", "websocket", ping=ping)) as client:
            assert (await client.call_tool("nats.ping", {})).data == b"PONG\r\n"
