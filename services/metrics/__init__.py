"""Metrics of processes that have no HTTP of their own."""
