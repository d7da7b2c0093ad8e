"""A FastAPI application with an API key, validation and server-sent events by sse-starlette."""

import json
import sys
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header, HTTPException, Query, Request
from pydantic import BaseModel, Field
from sse_starlette import EventSourceResponse, ServerSentEvent

app = FastAPI(title="Orders")


class Order(BaseModel):
    item: str
    count: int = Field(default=1, ge=1, le=10)


@app.post("/shops/{shop}/orders", operation_id="create_order", tags=["orders"])
def create(
    shop: int,
    order: Order,
    urgent: bool = False,
    x_trace: Annotated[str | None, Header()] = None,
    labels: Annotated[list[str] | None, Query()] = None,
):
    return {"shop": shop, "order": order, "urgent": urgent, "trace": x_trace, "labels": labels or []}


@app.get("/secret", operation_id="secret")
def secret(x_api_key: Annotated[str | None, Header()] = None):
    if x_api_key != "s3cret":
        raise HTTPException(403, "a key is needed")
    return {"open": True}


@app.api_route("/events/{topic}", methods=["GET", "POST"])
async def events(topic: str, request: Request, break_at: int = 0):
    """Five events with names, ids and data of several lines; with `break_at` the connection breaks there, once."""
    seen = int(request.headers.get("last-event-id", 0))
    body = await request.body()

    async def produce():
        yield ServerSentEvent(comment="here we go")
        for number in range(seen + 1, 6):
            data = {"topic": topic, "n": number, "asked": json.loads(body) if body else None}
            name = "even" if number % 2 == 0 else "odd"
            yield ServerSentEvent(data=json.dumps(data, indent=1), event=name, id=str(number), retry=10)
            if number == break_at and not seen:
                raise RuntimeError("the connection breaks here")

    return EventSourceResponse(produce(), sep="\r\n", ping=1)


uvicorn.run(app, port=int(sys.argv[1]), log_level="critical")
