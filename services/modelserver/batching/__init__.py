"""Batching: concurrent calls share one run."""
