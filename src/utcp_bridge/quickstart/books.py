"""A sample GraphQL API: a shelf of books, to look at and to add to."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from aiohttp import web

__all__ = ["Shelf"]

_SCHEMA: Final = """
"A book on the shelf."
type Book { title: String!, author: String!, year: Int }
input NewBook { title: String!, author: String!, year: Int }
type Query {
  "The books on the shelf, all or one author's."
  books("Part of the author's name." author: String): [Book!]!
}
type Mutation {
  "Put a book on the shelf."
  addBook(book: NewBook!): Book!
}
"""
_MOST_BOOKS: Final = 1000


class Shelf:
    """The books; lives as long as the service."""

    def __init__(self) -> None:
        self._schema: Any = None
        self._books: list[dict[str, Any]] = [
            {"title": "The Left Hand of Darkness", "author": "Ursula K. Le Guin", "year": 1969},
            {"title": "Solaris", "author": "Stanisław Lem", "year": 1961},
            {"title": "Invisible Cities", "author": "Italo Calvino", "year": 1972},
        ]

    async def answer(self, request: web.Request) -> web.Response:
        """One GraphQL request, as JSON."""
        graphql: Any = import_module("graphql")

        if self._schema is None:
            self._schema = graphql.build_schema(_SCHEMA)
        asked = await request.json()
        result = graphql.graphql_sync(
            self._schema,
            str(asked["query"]),
            {"books": self._find, "addBook": self._add},
            variable_values=asked.get("variables"),
            operation_name=asked.get("operationName"),
        )
        return web.json_response(result.formatted)

    def _find(self, _info: Any, author: str | None = None) -> list[dict[str, Any]]:
        return [book for book in self._books if author is None or author.casefold() in book["author"].casefold()]

    def _add(self, _info: Any, book: dict[str, Any]) -> dict[str, Any]:
        if len(self._books) >= _MOST_BOOKS:
            raise ValueError(f"There are {_MOST_BOOKS} books already.")
        self._books.append(book)
        return book
