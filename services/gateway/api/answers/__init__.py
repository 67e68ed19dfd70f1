"""Captured predictions, for people who label them."""
