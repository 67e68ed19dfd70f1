"""Preprocessing, architecture and recipes for who gives none: one module for each kind of input."""
