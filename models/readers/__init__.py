"""Reads the user's own files: tables and arrays."""
