"""Datasets, one per file: read from disk or generated, checked, and split."""
