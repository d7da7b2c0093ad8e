"""A FastAPI service whose routes are UTCP tools: its manual is at /utcp."""

import argparse

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from utcp_bridge import add_manual

app = FastAPI(title="Bookshop")


class Book(BaseModel):
    title: str
    price: float


STOCK = [Book(title="Tea", price=12.5), Book(title="Bread", price=20), Book(title="Cheese", price=14)]


@app.get("/books", tags=["books"])
def find_books(below: float = 1000) -> list[Book]:
    """List the books that cost less than a price."""
    return [book for book in STOCK if book.price < below]


@app.post("/books", tags=["books"])
def add_book(book: Book) -> Book:
    """Add a book to the stock."""
    if any(known.title == book.title for known in STOCK):
        raise HTTPException(409, f"There is already a book {book.title}.")
    STOCK.append(book)
    return book


add_manual(app)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8080)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port)
