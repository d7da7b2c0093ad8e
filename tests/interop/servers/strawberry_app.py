"""strawberry over ASGI, with subscriptions in one WebSocket protocol: `strawberry_app.py PORT PROTOCOL`."""

import sys
from collections.abc import AsyncGenerator

import strawberry
import uvicorn
from strawberry.asgi import GraphQL


@strawberry.type
class Query:
    @strawberry.field(description="Says it again.")
    def echo(self, text: str) -> str:
        return text


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int = 3) -> AsyncGenerator[int, None]:
        for number in range(to):
            yield number


schema = strawberry.Schema(Query, subscription=Subscription)
uvicorn.run(GraphQL(schema, subscription_protocols=[sys.argv[2]]), port=int(sys.argv[1]), log_level="critical")
