"""Trainable models, their data, and the registry of published versions."""
