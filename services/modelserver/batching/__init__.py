"""Calls that come at the same time share one run."""
