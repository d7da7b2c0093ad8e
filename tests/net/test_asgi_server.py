"""Serving until a signal arrives, in a process of its own."""

import signal
import subprocess
import sys
import urllib.request

PROGRAM = """
import sys
import anyio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from utcp_bridge.net.asgi_server import serve_asgi
from utcp_bridge.net.listening import bind

listener = bind("127.0.0.1", 0)
app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("hello"))])

async def at_end():
    print("ending", flush=True)

def ready():
    print(listener.getsockname()[1], flush=True)

anyio.run(lambda: serve_asgi(app, [listener], on_ready=ready, at_end=at_end))
print("closed" if listener.fileno() == -1 else "open", flush=True)
"""


def test_a_signal_ends_the_server_with_status_0():
    for number in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
            port = int(process.stdout.readline())
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                assert answer.read() == b"hello"
                assert answer.headers["server"] is None
            process.send_signal(number)
            said, _ = process.communicate(timeout=60)
            assert (said, process.returncode) == ("ending\nclosed\n", 0)
