"""Decides which versions are loaded and unloaded, and does it."""
