"""Schemas as hosts can use them: portable, small, and results that conform to them."""
