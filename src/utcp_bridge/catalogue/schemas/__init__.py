"""Schemas as hosts can use them: portable and small, and results that conform to them."""
