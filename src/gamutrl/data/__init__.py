"""Rows: where they come from, and the worlds that generate them."""
