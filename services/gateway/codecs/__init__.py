"""Bytes to arrays, and arrays to bytes."""
