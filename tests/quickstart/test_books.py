"""The sample GraphQL API, asked as any GraphQL client does."""

import pytest
from aiohttp import ClientSession, web

from utcp_bridge.quickstart import books

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ask():
    application = web.Application()
    application.add_routes([web.post("/graphql", books.Shelf().answer)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/graphql"
    async with ClientSession() as session:

        async def post(query, **variables):
            async with session.post(url, json={"query": query, "variables": variables}) as reply:
                return await reply.json()

        yield post
    await runner.cleanup()


async def test_an_authors_books_are_found_by_a_part_of_the_name(ask):
    query = "query ($who: String) { books(author: $who) { title } }"
    assert await ask(query, who="GUIN") == {"data": {"books": [{"title": "The Left Hand of Darkness"}]}}
    assert len((await ask(query))["data"]["books"]) == 3


async def test_the_shelf_has_an_end(ask, monkeypatch):
    monkeypatch.setattr(books, "_MOST_BOOKS", 4)
    mutation = "mutation ($book: NewBook!) { addBook(book: $book) { title } }"
    assert await ask(mutation, book={"title": "a", "author": "b"}) == {"data": {"addBook": {"title": "a"}}}
    refused = await ask(mutation, book={"title": "c", "author": "d"})
    assert "4 books already" in refused["errors"][0]["message"]


async def test_a_wrong_query_is_told(ask):
    assert "nothing" in (await ask("{ nothing }"))["errors"][0]["message"]
