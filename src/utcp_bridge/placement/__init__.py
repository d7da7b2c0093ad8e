"""Which argument goes where in a request: pure functions without input or output."""
