"""An embeddings endpoint in the form of OpenAI's, on loopback, with vectors made of concepts.

Words with one meaning share a dimension, so that a query and a tool without a common word can still be similar.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self
from zlib import crc32

import anyio
from aiohttp import web

DIMENSIONS = 64
CONCEPTS = {"sloop": "boat", "yacht": "boat", "cross": "ferry", "ocean": "ferry"}
KEY = "embeddings-key"


def embed(text: str) -> list[float]:
    """Return the words hashed into a vector."""
    vector = [0.0] * DIMENSIONS
    for word in text.lower().replace(".", " ").split():
        vector[crc32(CONCEPTS.get(word, word).encode()) % DIMENSIONS] += 1.0
    return vector


@dataclass
class EmbeddingsService:
    """Use it as an async context manager; `url` is then the endpoint."""

    url: str = ""
    inputs: list[list[str]] = field(default_factory=list)
    failures: int = 0
    """How many requests get status 503 first."""
    open: anyio.Event = field(default_factory=anyio.Event)
    """Answers wait for it; set from the start."""
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        self.open.set()
        app = web.Application()
        app.router.add_post("/v1/embeddings", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1/embeddings"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._runner is not None
        self.open.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"error": {"message": f"wrong key {KEY}"}}, status=401)
        texts = (await request.json())["input"]
        self.inputs.append(texts)
        await self.open.wait()
        if self.failures:
            self.failures -= 1
            return web.json_response({"error": "overloaded"}, status=503)
        rows = [{"index": number, "embedding": embed(text)} for number, text in enumerate(texts)]
        return web.json_response({"data": rows[::-1]})
